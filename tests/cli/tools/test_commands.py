"""Tools that need no service; expected numbers are the papers' or worked out by hand."""

import json
from pathlib import Path
from typing import get_args

import pytest

from cli.tools import commands
from searchd.domain.architecture import PRESETS, preset
from searchd.domain.distillation_methods import MethodName
from searchd.domain.encoding import encode
from tests.cli.conftest import Run

pytestmark = pytest.mark.timeout(60)  # real detectors are built

R18 = (
    "[(64, 64)-(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
)


def test_complexity_of_a_named_detector_is_the_papers(offline: Run) -> None:
    result = offline(
        "tools", "complexity", "--detector", "resnet18", "--input", "1333x800", "--format", "json"
    )
    counted = json.loads(result.stdout)
    assert counted["macs_g"] == pytest.approx(160.5, rel=1.5e-3)
    assert set(counted) == {"macs_g", "backbone_macs_g", "params_m"}


def test_complexity_of_an_encoding_equals_the_named_detectors(offline: Run) -> None:
    options = ("--input", "320x200", "--format", "json")
    named = offline("tools", "complexity", "--detector", "resnet18", *options)
    encoded = offline("tools", "complexity", "--encoding", R18, "--block", "basic", *options)
    assert json.loads(encoded.stdout) == json.loads(named.stdout)


@pytest.mark.parametrize(
    ("name", "block", "groups"),
    [("mobilenet_v2", "inverted_residual", "1"), ("resnext50_32x4d", "bottleneck", "32")],
)
def test_block_kind_and_groups_are_given_beside_the_encoding(
    offline: Run, name: str, block: str, groups: str
) -> None:
    options = ("--input", "64x64", "--format", "json")
    named = offline("tools", "complexity", "--detector", name, *options)
    text = encode(preset(name))
    encoded = offline(
        "tools", "complexity", "--encoding", text, "--block", block, "--groups", groups, *options
    )
    assert json.loads(encoded.stdout) == json.loads(named.stdout)


def test_every_published_backbone_can_be_named() -> None:
    assert get_args(commands.Preset) == PRESETS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "64x64"], "exactly one of --encoding and"),
        (["--input", "64x64", "--encoding", R18, "--detector", "resnet18"], "exactly one of"),
        (["--input", "64", "--detector", "resnet18"], "must look like 1333x800"),
        (["--input", "64x64", "--encoding", "(1"], "does not parse at"),
    ],
)
def test_complexity_names_what_is_wrong(offline: Run, options: list[str], message: str) -> None:
    result = offline("tools", "complexity", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def _score(offline: Run, *options: str) -> float:
    result = offline("tools", "score", "--format", "json", *options)
    assert result.exit_code == 0, result.stderr
    value: float = json.loads(result.stdout)["score"]
    return value


def test_score_of_the_base_is_its_ap(offline: Run) -> None:
    size = ("--input", "1333x800", "--base-input", "1333x800")
    assert _score(offline, "--ap", "36", "--macs", "160", "--base-macs", "160", *size) == 36.0


def test_score_rewards_a_smaller_detector(offline: Run) -> None:
    size = ("--input", "100x100", "--base-input", "200x100")
    costs = ("--ap", "40", "--macs", "50", "--base-macs", "100", *size)
    # (1/2 * (1/2)^1)^-0.5 = 2
    assert _score(offline, *costs, "--alpha", "0.5", "--beta", "1") == pytest.approx(80.0)
    assert _score(offline, *costs) == pytest.approx(40 * 0.5 ** (-0.4 * 1.8))


def test_space_size_counts_with_and_without_resolutions(offline: Run) -> None:
    file = Path(__file__).parents[3] / "elastic_pool" / "spaces" / "paper.json"
    result = offline("tools", "space-size", "--space", file, "--format", "json")
    assert json.loads(result.stdout) == {"subnets": 256_608, "without_resolutions": 64_152}


def test_space_size_refuses_a_space_that_is_none(offline: Run, tmp_path: Path) -> None:
    file = tmp_path / "space.json"
    file.write_text('{"depths": [[2]]}')
    result = offline("tools", "space-size", "--space", file)
    assert result.exit_code == 2
    assert "must each list 4 stages" in result.stderr


def test_teacher_order_goes_from_near_to_far(offline: Run, tmp_path: Path) -> None:
    # B is the best teacher; A is closer to it than the student is, C is not.
    costs = {"S": {"A": 1, "B": 5, "C": 1}, "A": {"A": None, "B": 2}, "C": {"A": 9, "B": 6}}
    (tmp_path / "costs.json").write_text(json.dumps({"costs": costs, "note": "made up"}))
    (tmp_path / "ap.json").write_text('{"S": 30, "A": 35, "B": 40, "C": 38}')
    result = offline(
        "tools",
        "teacher-order",
        f"--costs={tmp_path / 'costs.json'}",
        f"--performance={tmp_path / 'ap.json'}",
        "--student=S",
        "--max-teachers=3",
        "--algorithm=backward_greedy",
        "--format=json",
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"order": ["A", "B"]}


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("backward_greedy", ["I", "III", "IV"]),
        ("shortest_path_sum", ["II", "I", "IV"]),
        ("shortest_path_max", ["I", "III", "IV"]),
        ("forward", ["II", "I", "III"]),
        ("exhaustive", ["I", "III", "IV"]),
    ],
)
def test_teacher_order_by_every_algorithm(
    offline: Run, tmp_path: Path, algorithm: str, expected: list[str]
) -> None:
    golden = Path(__file__).parents[2] / "golden" / "mtpd_costs.json"
    performance = tmp_path / "ap.json"
    performance.write_text(json.dumps(json.loads(golden.read_text())["teacher_ap_box"]))
    files = (f"--costs={golden}", f"--performance={performance}")
    options = ("--student=S", "--max-teachers=3", f"--algorithm={algorithm}", "--format=json")
    result = offline("tools", "teacher-order", *files, *options)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"order": expected}


def test_teacher_order_says_why_to_people(offline: Run, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text('{"costs": {"S": {"B": 5}, "A": {"B": 2}}}')
    (tmp_path / "ap.json").write_text('{"A": 35, "B": 40}')
    result = offline(
        "tools",
        "teacher-order",
        f"--costs={tmp_path / 'costs.json'}",
        f"--performance={tmp_path / 'ap.json'}",
        "--student=S",
        "--max-teachers=2",
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "order: A B",
        "1. A: cost from S unknown; closest to B (2), and closer than the student (5)",
        "2. B: cost from A 2; the best teacher (AP 40)",
    ]


def test_teacher_order_names_a_missing_cost(offline: Run, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text('{"costs": {}}')
    (tmp_path / "ap.json").write_text('{"A": 35, "B": 40}')
    result = offline(
        "tools",
        "teacher-order",
        f"--costs={tmp_path / 'costs.json'}",
        f"--performance={tmp_path / 'ap.json'}",
        "--student=S",
        "--max-teachers=2",
    )
    assert result.exit_code == 2
    assert result.stderr == "error: the adaptation cost from 'S' to 'B' is missing\n"


def test_make_shapes_draws_a_data_set_and_says_how_to_register_it(
    offline: Run, tmp_path: Path
) -> None:
    options = ("--train", "3", "--validation", "2", "--image-size", "32", "--name", "tiny")
    result = offline("dataset", "make-shapes", tmp_path / "tiny", *options)
    assert result.exit_code == 0, result.stderr
    assert "searchd dataset add tiny" in result.stdout
    assert len(list((tmp_path / "tiny" / "train").iterdir())) == 3
    result = offline("dataset", "make-shapes", tmp_path / "t", *options, "--format", "json")
    assert json.loads(result.stdout)["name"] == "tiny"


def test_make_shapes_refuses_what_it_cannot_draw(offline: Run, tmp_path: Path) -> None:
    result = offline("dataset", "make-shapes", tmp_path, "--classes", "7")
    assert result.exit_code == 2
    assert "num_classes=7" in result.stderr


def test_methods_are_listed_with_what_they_fit_and_their_options(offline: Run) -> None:
    listed = json.loads(offline("tools", "methods", "--format", "json").stdout)
    ckd = next(method for method in listed if method["name"] == "ckd")

    assert [method["name"] for method in listed] == list(MethodName)
    assert (ckd["paper"], ckd["section"], ckd["weight"]) == ("G-DetKD", "4.2, B", 1.0)
    assert ckd["teachers"] == [
        *("cascade_mask_rcnn", "cascade_rcnn", "faster_rcnn", "mask_rcnn"),
    ]
    assert ckd["options"]["queue_size"] == 81920
    crop = next(method for method in listed if method["name"] == "dicod_classification")
    assert crop["options"] == {"classifier": "required", "temperature": 2.0}


def test_methods_of_a_pair_are_those_that_fit_both(offline: Run) -> None:
    options = ("--student", "fcos", "--teacher", "retinanet", "--format", "json")
    listed = json.loads(offline("tools", "methods", *options).stdout)

    assert {"feature_matching", "cwd", "icd"} <= {method["name"] for method in listed}
    assert not {"ckd", "classification"} & {method["name"] for method in listed}


def test_methods_are_shown_as_a_table(offline: Run) -> None:
    shown = offline("tools", "methods").stdout

    words = shown.split()
    assert "queue_size=81920" in words
    assert "(6" in words  # icd's weight for one-stage students
