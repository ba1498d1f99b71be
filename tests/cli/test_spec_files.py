"""Spec files with the mistakes that people make: each is one sentence that says what to write."""

import re
from pathlib import Path

import pytest

from cli.service import read_spec
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, DistillationSpec, FinishSpec, SearchSpec, Spec

SEARCH = "name: first\ndataset: shapes\npool: teachers\n"
DISTILLATION = "name: d\ndataset: shapes\nstudent: {base: {}}\npool: teachers\n"
NAME_RULE = (
    'a name has lower-case letters, digits, "-" and "_", starts with a letter or digit, and has '
    "at most 63 characters"
)
ROOT_FIELDS = (
    "name, dataset, pool, teachers, extend_pool, base, head, trial, distillation, strategy, score, "
    "budget, resources, control, noise, confirm, abandon, rungs, priority, sinks, seed"
)
BACKBONES = (
    "resnet18, resnet34, resnet50, resnet101, resnext50_32x4d, resnext101_32x4d, qr50, mobilenet_v2"
)


def written(folder: Path, content: str | bytes, name: str = "spec.yaml") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def refusal(file: Path, schema: type[Spec] = SearchSpec) -> str:
    """The message about a spec file, without the folder of the file."""
    with pytest.raises(InvalidValueError) as refused:
        read_spec(file, schema)
    return str(refused.value).replace(f"{file.parent}/", "")


def placed_errors(file: Path, schema: type[Spec] = SearchSpec) -> list[str]:
    """One line for each invalid field."""
    return [line.strip() for line in refusal(file, schema).splitlines()[1:]]


def field_errors(file: Path, schema: type[Spec] = SearchSpec) -> list[str]:
    """One line for each invalid field, without the line and the column, which each of them has."""
    lines = placed_errors(file, schema)
    assert all(re.match(r"line \d+, column \d+: |and \d+ more$", line) for line in lines)
    return [re.sub(r"^line \d+, column \d+: ", "", line) for line in lines]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My Search", f'"My Search" is not a valid name: {NAME_RULE}; for example my-search'),
        ("prüfung-1", f'"prüfung-1" is not a valid name: {NAME_RULE}; for example prufung-1'),
        ("team/run1", f'"team/run1" is not a valid name: {NAME_RULE}; for example team-run1'),
        ("resnet18.v2", f'"resnet18.v2" is not a valid name: {NAME_RULE}; for example resnet18-v2'),
        ("検出", f'"検出" is not a valid name: {NAME_RULE}'),
        ("''", f'"" is not a valid name: {NAME_RULE}'),
        ("a" * 64, f'"{"a" * 64}" has 64 characters; {NAME_RULE}'),
        ("${RUN}", '"${RUN}" is a placeholder, which is not replaced; write the name itself'),
        ("$RUN", '"$RUN" is a placeholder, which is not replaced; write the name itself'),
        (
            "'{{ run }}'",
            '"{{ run }}" is a placeholder, which is not replaced; write the name itself',
        ),
        ("no", "must be text, not false (in YAML, write no, off and false in quotes)"),
        ("on", "must be text, not true (in YAML, write yes, on and true in quotes)"),
        ("12", "must be text, not the number 12; in YAML, write it in quotes"),
        ("1e3", "must be text, not the number 1000.0; in YAML, write it in quotes"),
        ("2026-01-05", 'must be text, not the date "2026-01-05"; in YAML, write it in quotes'),
        ("~", "is empty; give it a text"),
        ("[a]", 'must be text, not ["a"]'),
    ],
)
def test_a_name_that_is_not_valid_is_refused_with_one_that_is(
    tmp_path: Path, name: str, message: str
) -> None:
    file = written(tmp_path, f"name: {name}\ndataset: shapes\npool: teachers\n")

    assert field_errors(file) == [f"name: {message}"]


@pytest.mark.parametrize("text", ["96x80", "96X80", "'96 x 80'", "[96, 80]"])
def test_a_resolution_is_read_in_each_usual_form(tmp_path: Path, text: str) -> None:
    spec = read_spec(written(tmp_path, f"{SEARCH}score: {{base_resolution: {text}}}\n"), SearchSpec)

    assert spec.score.base_resolution == Resolution(96, 80)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("96", '96 is not WxH, for example "1333x800"; write 96x96'),
        ("'96'", 'resolution "96" must look like 1333x800 (WxH, in pixels); write 96x96'),
        ("96×80", 'resolution "96×80" must look like 1333x800 (WxH, in pixels); write 96x80'),
        ("96*80", 'resolution "96*80" must look like 1333x800 (WxH, in pixels); write 96x80'),
        ("96:80", 'resolution "96:80" must look like 1333x800 (WxH, in pixels); write 96x80'),
        ("large", 'resolution "large" must look like 1333x800 (WxH, in pixels)'),
        ("0x96", "resolution 0x96 must be positive"),
        ("96x0", "resolution 96x0 must be positive"),
        ("[0, 96]", "resolution 0x96 must be positive"),
        ("[96]", '[96] is not WxH, for example "1333x800"'),
        ("", 'is empty; write WxH, for example "1333x800"'),
    ],
)
def test_a_resolution_that_is_none_is_refused_with_the_form(
    tmp_path: Path, text: str, message: str
) -> None:
    file = written(tmp_path, f"{SEARCH}score:\n  base_resolution: {text}\n")

    assert field_errors(file) == [f"score.base_resolution: {message}"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("sed: 1", "sed: unknown field; did you mean seed?"),
        ("Budget: {}", "Budget: unknown field; did you mean budget?"),
        (
            "learning_rate: 0.1",
            "learning_rate: unknown field here; did you mean trial.learning_rate, "
            "base.training.learning_rate or budget.finish.learning_rate?",
        ),
        (
            "lr: 0.1",
            "lr: unknown field here; did you mean trial.learning_rate, "
            "base.training.learning_rate or budget.finish.learning_rate?",
        ),
        ("max_trials: 3", "max_trials: unknown field here; did you mean budget.max_trials?"),
        (
            "base: {training: {lr: 0.1}}",
            "base.training.lr: unknown field; did you mean learning_rate?",
        ),
        ("trial: {batch: 2}", "trial.batch: unknown field; did you mean batch_size?"),
        ("trial: {num_epochs: 2}", "trial.num_epochs: unknown field; did you mean epochs?"),
        (
            "trial: {learningRate: 2}",
            "trial.learningRate: unknown field; did you mean learning_rate?",
        ),
        ("colour: red", f"colour: unknown field; the fields here are {ROOT_FIELDS}"),
        (
            "noise: {colour: 3}",
            "noise.colour: unknown field; the fields here are seeds",
        ),
        ("strategy: {top: 3}", "strategy.top: unknown field; did you mean top_k?"),
        (
            "strategy: {kind: pipeline, macs_fraction: 0.5, top_k: 3}",
            "strategy.top_k: unknown field; the fields here are macs_fraction, macs, "
            "latency_ms, min_channels, round_to, channel_importance, further_trials, kind",
        ),
        ("1: 2", "1: is not a text, as the name of a field must be; in YAML, write it in quotes"),
    ],
)
def test_an_unknown_field_is_refused_with_the_one_that_was_meant(
    tmp_path: Path, fields: str, message: str
) -> None:
    assert field_errors(written(tmp_path, f"{SEARCH}{fields}\n")) == [message]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "base: {backbone: resnet34d}",
            'base: there is no backbone "resnet34d"; did you mean resnet34? The backbones are '
            f"{BACKBONES}",
        ),
        (
            "base: {backbone: yolov8n}",
            f'base: there is no backbone "yolov8n"; the backbones are {BACKBONES}',
        ),
        (
            "strategy: {kind: joint-detnas}",
            "strategy.kind: must be joint_detnas, random, pool_search or pipeline, not "
            '"joint-detnas"; did you mean joint_detnas?',
        ),
        (
            "strategy: random",
            'strategy: must have fields, not be "random"; write {kind: random}',
        ),
        (
            "strategy: {actions: [prune]}",
            "strategy.actions.0: must be prune_channels, prune_layer, add_layer or rearrange, not "
            '"prune"',
        ),
        (
            "head: {family: FasterRCNN}",
            "head.family: must be faster_rcnn, mask_rcnn, cascade_rcnn, cascade_mask_rcnn, "
            "retinanet, fcos, atss, gfl, vfnet or tood, not "
            '"FasterRCNN"; did you mean faster_rcnn?',
        ),
        (
            "trial: {schedule: cosin}",
            'trial.schedule: must be cosine, step or linear, not "cosin"; did you mean cosine?',
        ),
        (
            "distillation: {methods: [cwd]}",
            'distillation.methods.0: must have fields, not be "cwd"; write {name: cwd}',
        ),
    ],
)
def test_an_unknown_choice_is_refused_with_what_there_is(
    tmp_path: Path, fields: str, message: str
) -> None:
    assert field_errors(written(tmp_path, f"{SEARCH}{fields}\n")) == [message]


def test_an_unknown_method_is_refused_with_the_methods(tmp_path: Path) -> None:
    file = written(tmp_path, f"{SEARCH}distillation: {{methods: [{{name: fdg}}]}}\n")

    (message,) = field_errors(file)

    assert message.startswith("distillation.methods.0.name: must be proposal_feature, ")
    assert message.endswith(
        'mgd, pkd, dkd, dist, ld, crosskd or bckd, not "fdg"; did you mean fgd?'
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("trial: {epochs: 0}", "trial.epochs: must be at least 1, not 0"),
        ("trial: {epochs: three}", 'trial.epochs: must be a whole number, not "three"'),
        ("trial: {epochs: 2.5}", "trial.epochs: must be a whole number, not 2.5"),
        ("trial: {epochs: yes}", "trial.epochs: must be a whole number, not true"),
        (
            "trial: {epochs: 10 epochs}",
            'trial.epochs: must be a whole number, not "10 epochs"; write 10',
        ),
        ("trial: {epochs: }", "trial.epochs: is empty; remove it or give it a whole number"),
        ("seed: -1", "seed: must be at least 0, not -1"),
        ("priority: 1001", "priority: must be at most 1000, not 1001"),
        ("priority: -1001", "priority: must be at least -1000, not -1001"),
        ("seed: 0x10", 'seed: must be a whole number, not "0x10"'),
        (
            'trial: {learning_rate: "0,01"}',
            'trial.learning_rate: must be a number, not "0,01"; write 0.01',
        ),
        ("trial: {learning_rate: .nan}", "trial.learning_rate: must be a finite number, not NaN"),
        (
            "trial: {learning_rate: -.inf}",
            "trial.learning_rate: must be a finite number, not infinity",
        ),
        ("trial: {learning_rate: 0}", "trial.learning_rate: must be greater than 0, not 0"),
        ("trial: {momentum: 1}", "trial.momentum: must be less than 1, not 1"),
        (
            "trial: {flip_probability: 50 %}",
            'trial.flip_probability: must be a number, not "50 %"; write 0.5',
        ),
        (
            "budget: {target: {ap: 39}}",
            "budget.target.ap: must be at most 1, not 39; it is a fraction: 39% is 0.39",
        ),
        (
            "budget: {max_worker_hours: 2h}",
            'budget.max_worker_hours: must be a number, not "2h"; write 2',
        ),
        ("control: maybe", 'control: must be true or false, not "maybe"'),
        (f"control: {'x' * 200}", f'control: must be true or false, not "{"x" * 79}…'),
        (
            "trial: {resolutions: 96x96}",
            'trial.resolutions: must be a list, not "96x96"; write ["96x96"]',
        ),
        ("trial: 3", None),
        ("budget:", "budget: is empty; remove it or give it fields"),
        ("strategy:", "strategy: is empty; remove it or give it fields"),
    ],
)
def test_a_value_that_is_not_valid_is_named_with_its_bounds(
    tmp_path: Path, fields: str, message: str | None
) -> None:
    found = field_errors(written(tmp_path, f"{SEARCH}{fields}\n"))

    assert len(found) == 1
    assert (
        found[0] == message if message else found[0].startswith("trial: must have fields (epochs")
    )


def test_numbers_and_switches_are_read_as_they_are_meant(tmp_path: Path) -> None:
    fields = 'seed: 010\ncontrol: "no"\ntrial: {learning_rate: 1e-3, epochs: 1e1, bn_l1: "1e-5"}\n'

    spec = read_spec(written(tmp_path, SEARCH + fields), SearchSpec)

    assert (spec.seed, spec.control, spec.trial.epochs) == (10, False, 10)
    assert (spec.trial.learning_rate, spec.trial.bn_l1) == (0.001, 1e-5)


@pytest.mark.parametrize(
    ("schema", "text", "messages"),
    [
        (
            DistillationSpec,
            f"{DISTILLATION}teachers: {{a: {{depths: [1, 1, 1, 1]}}}}\n",
            [
                "teachers.a.widths: required field is missing",
                "teachers.a.neck_channels: required field is missing",
            ],
        ),
        (
            DistillationSpec,
            f"{DISTILLATION}num_sampled_teachers: 2\norder: backward\n",
            [
                "order: must be backward_greedy, shortest_path_sum, shortest_path_max, forward or "
                'exhaustive, not "backward"; did you mean backward_greedy?'
            ],
        ),
        (
            DistillationSpec,
            f"{DISTILLATION}num_sampled_teachers: 2\norder: [No Name]\n",
            [f'order.0: "No Name" is not a valid name: {NAME_RULE}; for example no-name'],
        ),
        (
            FinishSpec,
            "detectors: [first]\n",
            ['detectors.0: must be the id of a trial, for example s-7f3k2m-12, not "first"'],
        ),
        (
            FinishSpec,
            "method: {epochs: 3}\n",
            ["method.kind: required field is missing: fine_tune or distil"],
        ),
        (
            FinishSpec,
            "method: {kind: fine_tune, epoch: 3}\n",
            ["method.epoch: unknown field; did you mean epochs?"],
        ),
        (
            DatasetSpec,
            "name: d\ntrain: a.json\nvalidation: {annotations: /a.json}\n",
            [
                "train: must have fields (annotations, images, sha256, left_out, files), not be "
                '"a.json"',
                "validation.images: required field is missing",
            ],
        ),
    ],
)
def test_a_choice_between_forms_is_one_sentence(
    tmp_path: Path, schema: type[Spec], text: str, messages: list[str]
) -> None:
    assert field_errors(written(tmp_path, text), schema) == messages


def test_at_most_twenty_errors_are_named_and_the_fields_once(tmp_path: Path) -> None:
    file = written(tmp_path, SEARCH + "".join(f"q{number}: 1\n" for number in range(30)))

    found = field_errors(file)

    assert found[0] == f"q0: unknown field; the fields here are {ROOT_FIELDS}"
    assert found[1] == "q1: unknown field"
    assert found[20:] == ["and 10 more"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            f"{SEARCH}budget: {{max_trials: 18}}\nbudget: {{max_trials: 4}}\n",
            'spec.yaml gives "budget" on line 4, column 1 and again on line 5, column 1; remove '
            "one of them",
        ),
        (
            'name: a\n"name": b\n',
            'spec.yaml gives "name" on line 1, column 1 and again on line 2, column 1; remove '
            "one of them",
        ),
        (
            '{"name": "a", "seed": 1, "seed": 2}',
            'spec.yaml gives "seed" on line 1, column 15 and again on line 1, column 26; remove '
            "one of them",
        ),
        (
            "name: a\n---\nname: b\n",
            "spec.yaml has two documents, the second from line 2 (---); write one file for each",
        ),
        (
            "name: a\nbase:\n\tbackbone: resnet18\n",
            "spec.yaml, line 3, column 1: the line is indented with a tab; YAML allows only spaces "
            "there",
        ),
        (
            "name: a\nbudget:\n  max_trials: 3\n   patience: 4\n",
            "spec.yaml is neither YAML nor JSON: line 4, column 12: mapping values are not allowed "
            "here; indent the line by as many spaces as the others of its section, or put a text "
            'with ": " in quotes',
        ),
        (
            "name: a\nbudget:\n  max_trials: 3\n patience: 4\n",
            "spec.yaml is neither YAML nor JSON: line 4, column 2: expected <block end>, but found "
            "'<block mapping start>'; indent the line by as many spaces as the others of its "
            "section",
        ),
        (
            "name: a\nbudget: {max_trials: 3\n",
            "spec.yaml is neither YAML nor JSON: line 3, column 1: expected ',' or '}', but got "
            "'<stream end>'; a bracket or brace is not closed, or a comma is missing",
        ),
        (
            "name: a\n# f\xfcr\n".encode("latin-1"),
            "spec.yaml, line 2, column 4: the byte 0xFC is not UTF-8; save the file as UTF-8",
        ),
        ("name: a\n".encode("utf-16"), "spec.yaml is UTF-16; save it as UTF-8"),
        ("name: a\n".encode("utf-16-be"), "spec.yaml is UTF-16; save it as UTF-8"),
        (b"PK\x03\x04\0\0\0x", "spec.yaml is a binary file; a spec is a YAML or JSON file"),
        ("", "spec.yaml is empty: a spec must have fields and values, such as name: first"),
        (
            "# all\n# commented out\n",
            "spec.yaml is empty: a spec must have fields and values, such as name: first",
        ),
        (
            "- name: a\n",
            "spec.yaml is a list: a spec must have fields and values, such as name: first; remove "
            'the "- " at the beginning',
        ),
        ("just words", "spec.yaml must have fields and values, such as name: first"),
        (
            "name:first",
            "spec.yaml must have fields and values, such as name: first, with a space after the "
            "colon",
        ),
        (
            'name: "C:\\data"\n',
            "spec.yaml is neither YAML nor JSON: line 1, column 11: found unknown escape character "
            "'d'; use single quotes around a text with backslashes",
        ),
        (
            "name: a\nseed: !env SEED\n",
            "spec.yaml is neither YAML nor JSON: line 2, column 7: could not determine a "
            "constructor for the tag '!env'; tags such as !include are not supported",
        ),
        (
            "name: {{ run }}\n",
            "spec.yaml is neither YAML nor JSON: line 1, column 8: found unhashable key; a text "
            "with {{ or [ must be in quotes",
        ),
        (
            "name: a\nseed: \x07\n",
            "spec.yaml, line 2, column 7: the character U+0007 is not allowed; remove it",
        ),
        ("name: 2026-02-30\n", "spec.yaml, line 1, column 7: the value cannot be read: "),
        ("name: " + 3000 * "[", "spec.yaml is nested too deeply for a spec"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_with_the_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    found = refusal(written(tmp_path, content))

    assert found.startswith(message) if message.endswith(": ") else found == message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("windows.yaml", SEARCH.replace("\n", "\r\n")),
        ("notepad.yaml", b"\xef\xbb\xbf" + SEARCH.encode()),
        ("tabs.json", '{\n\t"name": "first",\n\t"dataset": "shapes",\n\t"pool": "teachers"\n}'),
        ("comma.json", '{"name": "first", "dataset": "shapes", "pool": "teachers",}'),
        (
            "anchors.yaml",
            f"{SEARCH}trial: &t {{epochs: 3}}\nbase: {{training: {{<<: *t, epochs: 4}}}}\n",
        ),
    ],
)
def test_unusual_files_that_are_right_are_read(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    spec = read_spec(written(tmp_path, content, name), SearchSpec)

    assert (spec.name, spec.dataset, spec.pool) == ("first", "shapes", "teachers")
    assert spec.base.training.epochs == (4 if name == "anchors.yaml" else 24)
