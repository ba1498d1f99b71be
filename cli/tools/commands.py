"""`searchd tools`: computations of the papers that need no service."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel, ConfigDict, TypeAdapter

from cli.output import Format, FormatOption, show_json
from cli.tools.methods import methods
from cli.tools.train_classifier import train_classifier
from cli.tools.upgrade import upgrade
from searchd.domain.architecture import BlockKind, preset
from searchd.domain.detector import Detector
from searchd.domain.distillation_plan import Choice, OrderAlgorithm
from searchd.domain.encoding import parse
from searchd.domain.resolution import Resolution
from searchd.domain.score import score as compute_score
from searchd.search.teacher_order import Pool, choose
from searchd.spec import ScoreSpec, SpaceSpec

app = typer.Typer(no_args_is_help=True, help="Computations that need no service.")
app.command()(methods)
app.command()(train_classifier)
app.command()(upgrade)

Preset = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "qr50",
    "mobilenet_v2",
]
JsonFile = typer.Option(exists=True, dir_okay=False)
_DEFAULTS = ScoreSpec()
_PERFORMANCE = TypeAdapter(dict[str, float])


class _Costs(BaseModel):
    """The adaptation costs: costs[FROM][TO]. Null, as on the diagonal, is no cost."""

    model_config = ConfigDict(extra="ignore")

    costs: dict[str, dict[str, float | None]]


@app.command()
def complexity(
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="Size of the one image, in pixels.")
    ],
    encoding: Annotated[
        str | None, typer.Option(help="The backbone in the papers' text form.")
    ] = None,
    block: Annotated[BlockKind, typer.Option(help="Block kind of --encoding.")] = BlockKind.BASIC,
    groups: Annotated[
        int, typer.Option(help="Groups of the 3x3 convolutions of --encoding (ResNeXt).")
    ] = 1,
    detector: Annotated[
        Preset | None, typer.Option(help="A plain detector instead of --encoding.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count multiply-accumulates and parameters of a Faster R-CNN with FPN (80 classes).

    Counted on the real module, in the papers' convention: bias, batch norm, ReLU and pooling
    included.
    """
    if (encoding is None) == (detector is None):
        raise typer.BadParameter("give exactly one of --encoding and --detector")
    from detection.measurement.complexity import count

    architecture = preset(detector) if detector else parse(encoding or "", block, groups=groups)
    counted = count(Detector(architecture=architecture), Resolution.parse(input_size))
    _show(
        {
            "macs_g": counted.macs / 1e9,
            "backbone_macs_g": counted.backbone_macs / 1e9,
            "params_m": counted.params / 1e6,
        },
        output,
    )


@app.command()
def score(
    ap: Annotated[float, typer.Option(metavar="PERCENT", help="AP of the detector.")],
    macs: Annotated[float, typer.Option(metavar="G", help="Its MACs at the base resolution.")],
    base_macs: Annotated[float, typer.Option(metavar="G", help="The base detector's, likewise.")],
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="Resolution at which --ap was measured.")
    ],
    base_input: Annotated[str, typer.Option(metavar="WxH", help="The base resolution.")],
    alpha: Annotated[float, typer.Option(help="Weight of complexity.")] = _DEFAULTS.alpha,
    beta: Annotated[float, typer.Option(help="Weight of the area in it.")] = _DEFAULTS.beta,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compute Joint-DetNAS's score H, in percent."""
    h = compute_score(
        ap=ap,
        macs=macs,
        base_macs=base_macs,
        resolution=Resolution.parse(input_size),
        base_resolution=Resolution.parse(base_input),
        alpha=alpha,
        beta=beta,
    )
    _show({"score": h}, output)


@app.command()
def space_size(
    space: Annotated[Path, JsonFile],
    output: FormatOption = Format.TABLE,
) -> None:
    """Count the subnets of a pool's space, with and without its resolutions.

    The space is a JSON file with the fields of a pool's `space`; elastic_pool/spaces/ has the
    paper's.
    """
    found = SpaceSpec.model_validate_json(space.read_text()).space
    _show(
        {"subnets": found.size, "without_resolutions": found.size // found.num_resolutions}, output
    )


@app.command()
def teacher_order(
    costs: Annotated[Path, JsonFile],
    performance: Annotated[Path, JsonFile],
    student: Annotated[str, typer.Option(metavar="NAME", help="Its name in the costs.")],
    max_teachers: Annotated[int, typer.Option(metavar="K", help="Longest order wanted.")],
    algorithm: Annotated[
        OrderAlgorithm, typer.Option(help="How to choose.")
    ] = OrderAlgorithm.BACKWARD_GREEDY,
    output: FormatOption = Format.TABLE,
) -> None:
    """Choose teachers, and their order, for progressive distillation (MTPD, appendix A).

    Costs: {"costs": {FROM: {TO: number}}}. Performance: {NAME: AP}.

    backward_greedy (the paper's Algorithm 1): from the best teacher back to the student, always the
    teacher closest to the present first one, while it is closer than the student.

    shortest_path_sum, shortest_path_max: the path of exactly K teachers to the best one with the
    smallest sum of costs, or the smallest largest cost.

    forward: always the nearest teacher, starting from the student.

    exhaustive: of all orders of up to K teachers to the best one, that with the smallest largest
    cost, then the smallest sum. (The paper's exhaustive search trains the student by every order.)
    """
    given = _Costs.model_validate_json(costs.read_text()).costs
    pool = Pool(
        student=student,
        performance=_performance(performance, student),
        costs={
            source: {target: cost for target, cost in row.items() if cost is not None}
            for source, row in given.items()
        },
        max_teachers=max_teachers,
    )
    choices = choose(algorithm, pool)
    _show({"order": [choice.teacher for choice in choices]}, output)
    if output is Format.TABLE:
        _explain(choices, student)


def _explain(choices: list[Choice], student: str) -> None:
    """A line for each teacher: what its step costs, and why it was chosen."""
    before = [student, *(choice.teacher for choice in choices)]
    for number, (source, choice) in enumerate(zip(before, choices, strict=False), start=1):
        cost = "unknown" if choice.cost is None else f"{choice.cost:g}"
        typer.echo(f"{number}. {choice.teacher}: cost from {source} {cost}; {choice.reason}")


def _performance(file: Path, student: str) -> dict[str, float]:
    """AP of every teacher; the file may name the student too."""
    values = _PERFORMANCE.validate_json(file.read_text())
    return {name: ap for name, ap in values.items() if name != student}


def _show(values: dict[str, object], output: Format) -> None:
    if output is Format.JSON:
        show_json(values)
        return
    for name, value in values.items():
        shown = " ".join(value) if isinstance(value, list) else value
        typer.echo(f"{name}: {shown:,.6g}" if isinstance(shown, float) else f"{name}: {shown}")
