"""`searchd tools`: computations of the papers, which need no service."""

from pathlib import Path
from typing import Annotated, Any, Literal

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

app = typer.Typer(
    no_args_is_help=True, help="Computations of the papers, which need no running service."
)
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
_DEFAULTS = ScoreSpec()
_PERFORMANCE = TypeAdapter(dict[str, float])


def _json_file(description: str) -> Any:
    return typer.Option(exists=True, dir_okay=False, help=description)


class _Costs(BaseModel):
    """The file of adaptation costs: costs[FROM][TO], or null where there is none."""

    model_config = ConfigDict(extra="ignore")

    costs: dict[str, dict[str, float | None]]


@app.command()
def complexity(
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="Width and height of the image in pixels.")
    ],
    encoding: Annotated[
        str | None, typer.Option(help="Backbone of the detector in the papers' text form.")
    ] = None,
    block: Annotated[
        BlockKind, typer.Option(help="Kind of the blocks of --encoding.")
    ] = BlockKind.BASIC,
    groups: Annotated[
        int,
        typer.Option(
            help="Number of groups of the 3x3 convolutions of --encoding; more than 1 for a "
            "ResNeXt."
        ),
    ] = 1,
    detector: Annotated[
        Preset | None,
        typer.Option(help="Name of a published backbone, instead of --encoding."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count multiply-accumulates and parameters of a Faster R-CNN with FPN and 80 classes.

    They are counted on the real module in the papers' convention, which includes bias, batch norm,
    ReLU and pooling.
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
    ap: Annotated[float, typer.Option(metavar="PERCENT", help="AP of the detector in percent.")],
    macs: Annotated[
        float,
        typer.Option(metavar="G", help="MACs of the detector at the base resolution, in 1e9."),
    ],
    base_macs: Annotated[
        float,
        typer.Option(metavar="G", help="MACs of the base detector at the base resolution, in 1e9."),
    ],
    input_size: Annotated[
        str,
        typer.Option(
            "--input", metavar="WxH", help="Resolution at which --ap was measured, in pixels."
        ),
    ],
    base_input: Annotated[
        str, typer.Option(metavar="WxH", help="Base resolution of the score, in pixels.")
    ],
    alpha: Annotated[
        float, typer.Option(help="Exponent alpha: how strongly complexity lowers the score.")
    ] = _DEFAULTS.alpha,
    beta: Annotated[
        float, typer.Option(help="Exponent beta: how strongly the input area counts as complexity.")
    ] = _DEFAULTS.beta,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compute the score H of Joint-DetNAS in percent."""
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
    space: Annotated[
        Path, _json_file("JSON file with the fields of a pool's `space`; see elastic_pool/spaces/.")
    ],
    output: FormatOption = Format.TABLE,
) -> None:
    """Count the subnets of a pool's space, with and without its resolutions."""
    found = SpaceSpec.model_validate_json(space.read_text()).space
    _show(
        {"subnets": found.size, "without_resolutions": found.size // found.num_resolutions}, output
    )


@app.command()
def teacher_order(
    costs: Annotated[
        Path,
        _json_file('JSON file with the adaptation costs: {"costs": {FROM: {TO: NUMBER}}}.'),
    ],
    performance: Annotated[
        Path, _json_file("JSON file with the AP of each teacher, by name: {NAME: AP}.")
    ],
    student: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the student in the file of costs.")
    ],
    max_teachers: Annotated[
        int, typer.Option(metavar="K", help="Largest number of teachers in the order.")
    ],
    algorithm: Annotated[
        OrderAlgorithm, typer.Option(help="Algorithm that chooses the order, described above.")
    ] = OrderAlgorithm.BACKWARD_GREEDY,
    output: FormatOption = Format.TABLE,
) -> None:
    """Choose teachers and their order for progressive distillation (MTPD, appendix A).

    backward_greedy (Algorithm 1 of the paper): start with the best teacher and put before it,
    again and again, the teacher that is nearest to the first one, while that teacher is nearer than
    the student.

    shortest_path_sum, shortest_path_max: the path of exactly K teachers to the best teacher with
    the smallest sum of costs, or with the smallest maximum cost.

    forward: start with the student and go to the nearest teacher, again and again.

    exhaustive: among all orders of up to K teachers that end with the best teacher, the one with
    the smallest maximum cost, then with the smallest sum. (The exhaustive search of the paper
    trains the student by every order.)
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
    """Print for each teacher the cost of its step, and why it was chosen."""
    before = [student, *(choice.teacher for choice in choices)]
    for number, (source, choice) in enumerate(zip(before, choices, strict=False), start=1):
        cost = "unknown" if choice.cost is None else f"{choice.cost:g}"
        typer.echo(f"{number}. {choice.teacher}: cost from {source} {cost}; {choice.reason}")


def _performance(file: Path, student: str) -> dict[str, float]:
    """Read the AP of every teacher; the file may have the student too."""
    values = _PERFORMANCE.validate_json(file.read_text())
    return {name: ap for name, ap in values.items() if name != student}


def _show(values: dict[str, object], output: Format) -> None:
    if output is Format.JSON:
        show_json(values)
        return
    for name, value in values.items():
        shown = " ".join(value) if isinstance(value, list) else value
        typer.echo(f"{name}: {shown:,.6g}" if isinstance(shown, float) else f"{name}: {shown}")
