"""A pool is exported with all that its subnets need, and read back or refused in one sentence."""

import json
from pathlib import Path

import pytest
import torch

from detection.exported_pool import check_pool_export, read_supernet, write_pool_export
from elastic_pool.supernet import Supernet
from searchd.domain.errors import CheckpointError
from searchd.messages.pool_export import DESCRIPTION, WEIGHTS, imported_spec, read_description
from searchd.spec import PoolSpec
from tests.elastic_pool.tiny import make_pool_spec
from tests.exported_pools import CLASSES, write_tiny_export

pytestmark = pytest.mark.timeout(60)  # real detectors are built


def original() -> dict[str, torch.Tensor]:
    """The weights that `write_tiny_export` writes."""
    spec = make_pool_spec()
    torch.manual_seed(3)
    return Supernet(spec.space.space, spec.head, len(CLASSES)).weights()


def test_float32_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    write_tiny_export(tmp_path)
    found = read_supernet(tmp_path)
    expected = original()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_float16_halves_the_file_and_keeps_statistics(tmp_path: Path) -> None:
    write_tiny_export(tmp_path / "full")
    write_tiny_export(tmp_path / "half", half=True)
    sizes = {name: (tmp_path / name / WEIGHTS).stat().st_size for name in ("full", "half")}
    found, expected = read_supernet(tmp_path / "half"), original()
    assert sizes["half"] < 0.6 * sizes["full"]
    assert {weight.dtype for weight in found.values()} == {torch.float32, torch.int64}
    assert all(torch.allclose(found[name], expected[name], atol=1e-3) for name in expected)
    assert torch.equal(found["backbone.bn1.running_var"], expected["backbone.bn1.running_var"])


def test_value_beyond_float16_stays_float32(tmp_path: Path) -> None:
    weights = original()
    weights["backbone.bn1.weight"] = torch.full_like(weights["backbone.bn1.weight"], 1e6)
    write_pool_export(
        tmp_path, weights, make_pool_spec(), class_names=CLASSES, subnets=(), half=True
    )
    assert float(read_supernet(tmp_path)["backbone.bn1.weight"][0]) == 1e6


def test_description_names_classes_subnets_and_version(tmp_path: Path) -> None:
    write_tiny_export(tmp_path)
    found = json.loads((tmp_path / DESCRIPTION).read_text())
    assert (found["format"], found["version"]) == ("searchd-pool", 1)
    assert found["class_names"] == ["circle", "square", "triangle"]
    assert found["subnets"][0]["ap"] == 0.5
    assert found["notes"] == ["trained for a test"]


def without_description(folder: Path) -> None:
    (folder / DESCRIPTION).unlink()


def foreign_description(folder: Path) -> None:
    (folder / DESCRIPTION).write_text('{"name": "something else"}')


def later_version(folder: Path) -> None:
    path = folder / DESCRIPTION
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))


def without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def changed_weights(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


def another_space(folder: Path) -> None:
    path = folder / DESCRIPTION
    path.write_text(path.read_text().replace('"base_channels": 8', '"base_channels": 16'))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_description, "has no pool.json; give a folder that `searchd pool export` wrote"),
        (foreign_description, "does not describe a pool for this version of searchd"),
        (later_version, "version: Input should be 1"),
        (without_weights, "supernet.safetensors cannot be read: No such file"),
        (changed_weights, "copy the folder again"),
        (another_space, "does not fit pool.json"),
    ],
)
def test_damaged_or_foreign_folder_is_refused(tmp_path: Path, damage: object, reason: str) -> None:
    write_tiny_export(tmp_path)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(CheckpointError) as error:
        check_pool_export(tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_spec_of_an_import_has_the_exports_space_and_its_own_name(tmp_path: Path) -> None:
    write_tiny_export(tmp_path)
    spec = PoolSpec(name="mine", dataset="photos", source=tmp_path, bn_reset_images=3)
    found = imported_spec(spec, read_description(tmp_path))
    assert (found.name, found.dataset, found.source) == ("mine", "photos", tmp_path)
    assert (found.space, found.head) == (make_pool_spec().space, make_pool_spec().head)
    assert (found.bn_reset_images, found.evaluated_subnets) == (3, 2)
    assert imported_spec(found, read_description(tmp_path)) == found


def test_another_space_than_the_exports_is_refused(tmp_path: Path) -> None:
    write_tiny_export(tmp_path)
    space = make_pool_spec().space.model_copy(update={"base_channels": 64})
    spec = PoolSpec(name="mine", dataset="photos", source=tmp_path, space=space)
    with pytest.raises(CheckpointError, match="space must be as in"):
        imported_spec(spec, read_description(tmp_path))
