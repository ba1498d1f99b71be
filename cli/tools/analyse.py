"""`searchd analyse`: analyses of searches and of trained detectors, as tables, JSON and plots.

A command that needs torch imports it itself.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from api.client import Client
from cli.errors import fail
from cli.output import Format, FormatOption, percent, show_json, show_rows
from cli.resources import sweep_table
from cli.service import URL, UrlOption
from cli.tools import plots, search_analytics
from cli.tools.analysis_options import (
    TRIALS_HELP,
    DeviceOption,
    ImagesOption,
    PlotOption,
    SeedOption,
    TrialArgument,
)
from cli.tools.streaming import streaming
from searchd.domain.breakdown import ErrorKind
from searchd.domain.errors import InvalidValueError
from searchd.search.analytics import document
from searchd.search.history import OperatingPoint
from searchd.search.learning_curves import TrialCurve, curve

app = typer.Typer(no_args_is_help=True, help="Analyses of searches and of trained detectors.")


@app.command("search")
def analyse_search(
    search: Annotated[str, typer.Argument(help="Name or id of the search.")],
    plot: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder to draw the figures into. No plots by default."),
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Analyse a search: scores by generation, gains by action, MACs by stage, front over time."""
    with Client(url) as client:
        analysed = search_analytics.fetch(client, search)
    if plot is not None:
        for file in search_analytics.plot(analysed, plot):
            _announce(file)
    found = document(analysed)
    if output is Format.JSON:
        show_json({"search": search, **found})
        return
    show_rows(
        ("GENERATION", "FIRST TRIAL", "BEST SCORE %"),
        [(g["generation"], g["trial"], percent(g["score"], 2)) for g in found["generations"]],
    )
    show_rows(
        ("ACTION", "TRIALS", "GAINED", "SUM OF GAINS"),
        [
            (action, g["trials"], g["successes"], f"{100 * g['sum_of_gains']:.2f}")
            for action, g in found["gains_by_action"].items()
        ],
    )
    if found["gains_by_method"]:
        show_rows(
            ("METHOD", "TRIALS", "MEAN GAIN", "TRIALS WITHOUT", "THEIR MEAN GAIN"),
            [
                (
                    method,
                    g["trials"],
                    percent(g["mean_gain"], 2),
                    g["others"],
                    percent(g["mean_gain_of_others"], 2),
                )
                for method, g in found["gains_by_method"].items()
            ],
        )
    timed = found["macs_and_latency"]
    show_rows(
        ("TRIAL", "M MACS", "LATENCY MS"),
        [
            (each["trial"], f"{each['macs'] / 1e6:.1f}", f"{1000 * each['latency_s']:.2f}")
            for each in timed["detectors"]
        ],
    )
    if timed["tau"] is not None:
        typer.echo(f"latency {timed['source']}; Kendall's tau with MACs: {timed['tau']:.2f}")


@app.command()
def sweep(
    distillation: Annotated[
        str, typer.Argument(help="Name or id of a distillation that sweeps a setting.")
    ],
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compare the values of a distillation's sweep: AP on validation and test, with intervals."""
    with Client(url) as client:
        found = client.get_distillation(distillation)
    if found.sweep is None:
        why = "it sweeps nothing" if found.spec.sweep is None else "its teachers are not chosen yet"
        raise fail(f"distillation {found.name} has no values to compare: {why}")
    if plot is not None:
        plots.plot_sweep(found.sweep.field, sweep_table.drawn(found.sweep), plot)
        _announce(plot)
    if output is Format.JSON:
        show_json(found.sweep.model_dump(mode="json"))
        return
    show_rows(*sweep_table.table(found.sweep), output)


@app.command()
def curves(
    trials: Annotated[list[str], typer.Argument(metavar="TRIAL", help=TRIALS_HELP)],
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the training loss of each epoch and the AP of each trial, from the base to TRIAL.

    It compares, for example, a distilled detector with the control, which is trained equally long
    without a teacher.
    """
    with Client(url) as client:
        found = {trial: asdict(curve(_lineage(client, trial))) for trial in trials}
    if plot is not None:
        plots.plot_curves(found, plot)
        _announce(plot)
    if output is Format.JSON:
        show_json({"curves": found})
        return
    show_rows(
        ("DETECTOR", "EPOCHS", "LAST TRAINING LOSS", "LAST AP %"),
        [
            (
                trial,
                len(each["losses"]),
                f"{each['losses'][-1]['detection_loss']:.4f}" if each["losses"] else None,
                percent(each["aps"][-1]["ap"]),
            )
            for trial, each in found.items()
        ],
    )


@app.command()
def errors(
    trials: Annotated[list[str] | None, typer.Argument(metavar="TRIAL", help=TRIALS_HELP)] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(exists=True, help="COCO instances file with the truth of --detections."),
    ] = None,
    detections: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            help="File of COCO results to analyse instead of trials. Repeat the option for several "
            "files.",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the AP that each kind of error costs (TIDE), at the IoU thresholds .50 to .95."""
    if bool(trials) == bool(detections) or bool(annotations) != bool(detections):
        raise typer.BadParameter("give trials, or --annotations with --detections")
    from detection.analysis import tide
    from detection.data.coco import read_document

    if annotations is not None:
        truth = read_document(annotations)
        files = {str(file): _read_detections(file) for file in detections or []}
        results = {name: tide.errors(truth, found) for name, found in files.items()}
    else:
        results = {trial: _trial_errors(trial, url, device) for trial in trials or []}
    shown = {name: [asdict(each) for each in found] for name, found in results.items()}
    if plot is not None:
        plots.plot_errors(shown, plot)
        _announce(plot)
    if output is Format.JSON:
        show_json({"detectors": shown})
        return
    show_rows(
        ("DETECTOR", "IOU", "AP %", *(f"{kind} %".upper() for kind in ErrorKind)),
        [
            (name, each.threshold, percent(each.ap), *map(percent, each.lost_ap.values()))
            for name, found in results.items()
            for each in found
        ],
    )


app.command()(streaming)


@app.command()
def landscape(
    trial: TrialArgument,
    points: Annotated[
        int, typer.Option(min=3, help="Number of grid points on each axis; must be odd.")
    ] = 21,
    extent: Annotated[
        float,
        typer.Option(help="Largest distance along a direction, as a multiple of a filter's norm."),
    ] = 1.0,
    images: ImagesOption = 16,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compute the training loss along two random directions around the trained weights."""
    from cli.tools.trained_trials import load_trial
    from detection.analysis.loss_landscape import detection_loss, loss_landscape

    with Client(url) as client:
        found = load_trial(client, trial, device)
    batches = found.batches(found.dataset.spec.train, images)
    computed = loss_landscape(
        found.model,
        lambda: detection_loss(found.model, batches, seed),
        num_points=points,
        extent=extent,
        seed=seed,
    )
    flatness = {"mean_increase": computed.mean_increase, "max_increase": computed.max_increase}
    _show({"detector": trial, **asdict(computed), **flatness}, plots.plot_landscape, plot, output)


@app.command()
def levels(
    trial: TrialArgument,
    images: ImagesOption = 64,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count which levels of the student SGFI matched with which levels of the teacher."""
    from cli.tools.trained_trials import load_sgfi, load_teacher, load_trial
    from detection.analysis.level_histogram import level_matches

    with Client(url) as client:
        found = load_trial(client, trial, device)
        teacher = load_teacher(client, found)
        sgfi = load_sgfi(client, found, teacher)
    batches = found.batches(found.dataset.spec.validation, images)
    matches = level_matches(found.model, teacher, sgfi, batches, seed)
    values = {"detector": trial, **asdict(matches), "offsets": matches.offsets}
    _show(values, plots.plot_levels, plot, output)


@app.command()
def logits(
    trial: TrialArgument,
    images: ImagesOption = 64,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    plot: PlotOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Compute how the logits of classes correlate in the student and in its teacher."""
    from cli.tools.trained_trials import load_teacher, load_trial
    from detection.analysis.logit_correlation import logit_correlations

    with Client(url) as client:
        found = load_trial(client, trial, device)
        teacher = load_teacher(client, found)
    batches = found.batches(found.dataset.spec.validation, images)
    computed = logit_correlations(found.model, teacher, batches, seed)
    assert found.dataset.summary is not None  # a search only runs on a checked data set
    values = {
        "detector": trial,
        "num_regions": computed.num_regions,
        "mean_absolute_difference": computed.mean_absolute_difference,
        "classes": list(found.dataset.summary["class_names"]),
        "student": computed.student.tolist(),
        "teacher": computed.teacher.tolist(),
        "difference": computed.difference.tolist(),
    }
    _show(values, plots.plot_correlations, plot, output)


def _lineage(client: Client, trial_id: str) -> list[TrialCurve]:
    """Return the trials from the base to this one, with AP at the largest resolution."""
    detector = client.get_detector(trial_id)
    stages = []
    for trial_of_line in detector.lineage:
        row = client.get_trial(trial_of_line)
        if not row.evaluations:
            raise fail(f"trial {row.id} has no evaluation")
        stages.append(
            TrialCurve(
                trial=row.name if row.search_id == detector.search_id else row.id,
                losses=tuple(epoch.losses for epoch in row.epochs),
                points=tuple(
                    OperatingPoint(resolution=each.resolution, macs=each.macs, ap=each.ap)
                    for each in row.evaluations
                ),
            )
        )
    return stages


def _trial_errors(trial: str, url: str, device: str) -> list[Any]:
    from cli.tools.trained_trials import load_trial
    from detection.analysis import tide
    from detection.data.coco import CocoSplit
    from detection.measurement.evaluation import predict, renumbered

    with Client(url) as client:
        found = load_trial(client, trial, device)
    split = CocoSplit(found.dataset.spec.validation)
    detected = predict(found.model, split, found.resolution, device=device)
    # The records that the detector was evaluated on: repaired, with ids that COCO's tools accept.
    found_boxes = renumbered(split, (each for batch in detected for each in batch))
    return tide.errors(split.ground_truth(), found_boxes)


def _read_detections(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise InvalidValueError(f"{file} is not JSON: {error}") from error
    fields = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and fields <= each.keys() for each in found
    ):
        raise InvalidValueError(
            f"{file} must be COCO results: a list of objects with {', '.join(sorted(fields))}"
        )
    return found


def _show(
    values: dict[str, Any],
    draw: Callable[[dict[str, Any], Path], None],
    plot: Path | None,
    output: Format,
) -> None:
    if plot is not None:
        draw(values, plot)
        _announce(plot)
    if output is Format.JSON:
        show_json(values)
        return
    # Matrices are left to JSON and to the plot.
    rows = [row for row in values.items() if not isinstance(row[1], list | tuple)]
    show_rows(("QUANTITY", "VALUE"), rows)


def _announce(file: Path) -> None:
    typer.echo(f"plot written to {file}", err=True)
