"""Whatever a checkpoint's file holds, the answer is its weights or a clear refusal."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from detection.checkpoint_files import read_weights
from detection.mmdet.checkpoint_import import import_student
from detection.mmdet.known_families import EXAMPLES
from searchd.domain.detector import Family
from searchd.domain.errors import CheckpointError
from searchd.messages.files import RESUME_FILE
from tests.strength import examples
from workers.trial.checkpoints import newest_checkpoint, write_checkpoint

WEIGHTS = {"backbone.weight": torch.ones(3, 2), "head.bias": torch.arange(4)}
quick = settings(
    max_examples=examples(40, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _saved(stored: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(stored, file, **options)
    return file.getvalue()


SOUND = {
    "safetensors": save(WEIGHTS),
    "zip": _saved({"state_dict": OrderedDict(WEIGHTS), "meta": {"epoch": 1}}),
    "old": _saved({"state_dict": WEIGHTS}, _use_new_zipfile_serialization=False),
}
"""A checkpoint in each format."""


def _file(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / f"model.{'safetensors' if kind == 'safetensors' else 'pth'}"
    path.write_bytes(content)
    return path


def _is_read_or_refused(path: Path) -> None:
    try:
        weights = read_weights(path)
    except CheckpointError as error:
        message = str(error)
    else:
        message = str(path)
        assert all(isinstance(name, str) for name in weights)
        assert all(isinstance(weight, Tensor) for weight in weights.values())
    assert message.startswith(str(path))


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_checkpoint_is_read(tmp_path: Path, kind: str) -> None:
    weights = read_weights(_file(tmp_path, kind, SOUND[kind]))

    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@quick
@given(st.sampled_from(sorted(SOUND)), st.floats(0, 1))
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    length = int(share * (len(SOUND[kind]) - 1))

    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(_file(tmp_path, kind, SOUND[kind][:length]))


@quick
@given(st.sampled_from(sorted(SOUND)), st.binary(max_size=20), st.floats(0, 1), st.integers(0, 20))
def test_a_damaged_checkpoint_is_read_or_refused(
    tmp_path: Path, kind: str, put: bytes, share: float, length: int
) -> None:
    good = SOUND[kind]
    start = int(share * len(good))

    _is_read_or_refused(_file(tmp_path, kind, good[:start] + put + good[start + length :]))


@quick
@given(st.sampled_from(sorted(SOUND)), st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(_file(tmp_path, kind, content))


@quick
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.just(torch.ones(1)),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["state_dict", "a", 1, None]), inner, max_size=3)
        ),
        max_leaves=5,
    )
)
def test_anything_that_torch_stores_is_read_or_refused(tmp_path: Path, stored: object) -> None:
    _is_read_or_refused(_file(tmp_path, "zip", _saved(stored)))


class Runs:
    """Would run code when it is unpickled by plain pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("code was run",)


@pytest.mark.parametrize("write", [pickle.dumps, _saved])
def test_a_pickle_of_code_is_refused(tmp_path: Path, write: Callable[[object], bytes]) -> None:
    for kind in SOUND:
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_weights(_file(tmp_path, kind, write({"state_dict": Runs()})))


@pytest.mark.parametrize(
    "bias", [torch.tensor(1.0), torch.ones(0), torch.ones(1), torch.ones(2, 2), torch.ones(3, 1, 1)]
)
def test_a_head_of_an_unlikely_shape_is_refused(tmp_path: Path, bias: Tensor) -> None:
    path = _file(tmp_path, "safetensors", save({"bbox_head.conv_cls.bias": bias}))

    with pytest.raises(CheckpointError):
        import_student(EXAMPLES[Family.FCOS], path)


@quick
@given(st.binary(max_size=20), st.floats(0, 1), st.integers(0, 20))
def test_a_damaged_resume_checkpoint_is_read_or_skipped(
    tmp_path: Path, put: bytes, share: float, length: int
) -> None:
    for attempt in ("1", "2"):
        write_checkpoint(str(tmp_path / attempt), {"epoch": int(attempt)})
    file = tmp_path / "2" / RESUME_FILE
    good = file.read_bytes()
    start = int(share * len(good))
    file.write_bytes(good[:start] + put + good[start + length :])

    found = newest_checkpoint([str(tmp_path / "2"), str(tmp_path / "1")])

    assert found == {"epoch": 2 if file.read_bytes() == good else 1}
