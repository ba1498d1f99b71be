"""Costs between tiny detectors, and between detectors made to have a known cost."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.adaptation.cost import adaptation_costs, costs, gather, measure, merged, solve
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data.views import FixedViews
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from tests.detection.adaptation.gradient_descent import fit_by_descent
from tests.detection.distillation.conftest import tiny

SIZE = Resolution(128, 128)


class Pyramid(nn.Module):
    """A stand-in for a detector: pooled images, then `change` of them."""

    def __init__(
        self, change: Callable[[Tensor], Tensor] = lambda x: x, strides: Sequence[int] = (8, 16)
    ) -> None:
        super().__init__()
        self.strides, self.change = strides, change
        pairs = [(stride, stride) for stride in strides]
        self.bbox_head = SimpleNamespace(prior_generator=SimpleNamespace(strides=pairs))
        self.num_images = 0

    def extract_feat(self, inputs: Tensor) -> list[Tensor]:
        self.num_images += len(inputs)
        return [self.change(functional.avg_pool2d(inputs, stride)) for stride in self.strides]


class Recoloured(nn.Module):
    """A detector whose neck features are a linear image of another's."""

    def __init__(self, model: Any, num_outputs: int, num_inputs: int) -> None:
        super().__init__()
        self.model = model
        self.rpn_head = model.rpn_head
        self.conv = nn.Conv2d(num_inputs, num_outputs, 1)

    def extract_feat(self, inputs: Tensor) -> list[Tensor]:
        return [self.conv(level) for level in self.model.extract_feat(inputs)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[CocoSplit, CocoSplit]:
    folder = tmp_path_factory.mktemp("shapes")
    spec = make_shapes(folder, num_train=8, num_validation=4, image_size=128)
    return CocoSplit(spec.train), CocoSplit(spec.validation)


Views = tuple[FixedViews, FixedViews]
Show = Callable[..., Views]


@pytest.fixture
def show(shapes: tuple[CocoSplit, CocoSplit]) -> Show:
    """Training and validation images for detectors, named by keyword with their input sizes."""

    def views(batch_size: int = 4, **sizes: Resolution) -> Views:
        train, validation = (
            FixedViews(split=split, resolutions=sizes, batch_size=batch_size) for split in shapes
        )
        return train, validation

    return views


def detector(seed: int, family: Family = Family.FASTER_RCNN, neck_channels: int = 6) -> Any:
    torch.manual_seed(seed)
    return tiny("resnet18", neck_channels, family).eval()


def test_a_detector_has_nothing_new_for_itself(show: Show) -> None:
    found = adaptation_costs({"a": detector(1)}, *show(a=SIZE), pairs=[("a", "a")])
    assert found["a"]["a"] == pytest.approx(0, abs=1e-12)


def test_a_linear_image_of_a_detector_has_nothing_new(show: Show) -> None:
    a = detector(1)
    models = {"a": a, "narrow": Recoloured(a, 3, 6), "wide": Recoloured(a, 9, 6)}
    found = adaptation_costs(models, *show(a=SIZE, narrow=SIZE, wide=SIZE))
    assert found["a"]["narrow"] == pytest.approx(0, abs=1e-10)
    assert found["a"]["wide"] == pytest.approx(0, abs=1e-10)
    # Six of the wide one's channels say everything; three of the narrow one's do not.
    assert found["wide"]["a"] == pytest.approx(0, abs=1e-10)
    assert found["narrow"]["a"] > 0.01


def test_costs_are_squared_differences_per_element_and_then_per_level(show: Show) -> None:
    # From a constant, the best map is the mean of B: the cost is B's variance about it.
    models = {"none": Pyramid(lambda x: 0 * x[:, :1]), "image": Pyramid()}
    train, validation = show(none=SIZE, image=SIZE)
    found = adaptation_costs(models, train, validation, pairs=[("none", "image")])

    levels = []
    for stride in (8, 16):
        seen, unseen = (
            torch.cat([functional.avg_pool2d(v["image"].inputs, stride) for v in views])
            for views in (train, validation)
        )
        levels.append((unseen - seen.mean(dim=(0, 2, 3), keepdim=True)).square().mean())
    assert found["none"]["image"] == pytest.approx(float(torch.stack(levels).mean()), rel=1e-5)


def test_cost_matrix_of_three_families(show: Show) -> None:
    models = {
        "rcnn": detector(1),
        "retinanet": detector(2, Family.RETINANET, neck_channels=4),
        "fcos": detector(3, Family.FCOS),
    }
    # RetinaNet and FCOS share P7, which has one cell for each of the 8 images of 128 pixels.
    found = adaptation_costs(models, *show(**dict.fromkeys(models, Resolution(160, 160))))
    assert {a: set(row) for a, row in found.items()} == {a: set(models) - {a} for a in models}
    values = {(a, b): cost for a, row in found.items() for b, cost in row.items()}
    assert min(values.values()) > 0
    assert all(values[a, b] != pytest.approx(values[b, a], rel=1e-3) for a, b in values)


def test_levels_are_matched_by_stride(show: Show) -> None:
    models = {"rcnn": detector(1), "retinanet": detector(2, Family.RETINANET)}
    train, _ = show(rcnn=SIZE, retinanet=SIZE)
    sums = gather(models, train)
    assert list(sums["rcnn", "retinanet"]) == [8, 16, 32, 64]
    # 8 images of 128 pixels: (128 / stride)^2 cells each
    assert [level.num_samples for level in sums["retinanet", "rcnn"].values()] == [
        2048,
        512,
        128,
        32,
    ]


def test_detectors_may_see_the_images_at_different_sizes(show: Show) -> None:
    models = {"low": Pyramid(), "high": Pyramid()}
    same = adaptation_costs(models, *show(low=SIZE, high=SIZE))
    different = adaptation_costs(models, *show(low=Resolution(100, 100), high=SIZE))
    assert same["low"]["high"] == pytest.approx(0, abs=1e-10)
    # The same places, only a little coarser or finer.
    assert 0.001 < different["low"]["high"] < 0.1
    assert 0.001 < different["high"]["low"] < 0.1


def test_cells_in_the_padding_do_not_count(show: Show) -> None:
    models = {"low": Pyramid(strides=[8, 64]), "high": Pyramid(strides=[8, 64])}
    train, _ = show(low=Resolution(100, 100), high=SIZE)  # 100 pixels are padded to 128
    sums = gather(models, train)
    # 13 of 16 cells are on the image across; 100 and 128 pixels both reach into the second of 64.
    assert [level.num_samples for level in sums["high", "low"].values()] == [8 * 13**2, 8 * 2**2]
    assert [level.num_samples for level in sums["low", "high"].values()] == [8 * 16**2, 8 * 2**2]


def test_cost_as_a_share_of_the_variance_does_not_depend_on_the_targets_unit(show: Show) -> None:
    models = {
        "grey": Pyramid(lambda x: x.mean(dim=1, keepdim=True)),
        "colour": Pyramid(),
        "large": Pyramid(lambda x: 10 * x),
    }
    views = show(grey=SIZE, colour=SIZE, large=SIZE)
    pairs = [("grey", "colour"), ("grey", "large")]
    plain = adaptation_costs(models, *views, pairs=pairs)["grey"]
    share = adaptation_costs(models, *views, pairs=pairs, normalize="target_var")["grey"]
    assert plain["large"] == pytest.approx(100 * plain["colour"])
    assert share["large"] == pytest.approx(share["colour"])
    assert 0 < share["colour"] < 1


def test_images_may_be_spread_over_processes_and_batches(
    shapes: tuple[CocoSplit, CocoSplit], show: Show
) -> None:
    models = {"a": detector(1), "b": detector(2, neck_channels=4)}
    sizes = {"a": SIZE, "b": Resolution(96, 96)}
    whole = adaptation_costs(models, *show(**sizes, batch_size=3))
    parts = [
        [
            FixedViews(split=split, resolutions=sizes, batch_size=2, indices=indices)
            for indices in (range(3), range(3, len(split)))
        ]
        for split in shapes
    ]
    maps = solve(merged([gather(models, part) for part in parts[0]]))
    found = costs(merged([measure(models, maps, part) for part in parts[1]]))
    assert found["a"] == pytest.approx(whole["a"])
    assert found["b"] == pytest.approx(whole["b"])


def test_every_detector_runs_once_per_image_for_all_its_pairs(show: Show) -> None:
    models = {name: Pyramid() for name in "abcd"}
    adaptation_costs(models, *show(**dict.fromkeys("abcd", SIZE)), pairs=[("a", "b"), ("a", "c")])
    assert {name: model.num_images for name, model in models.items()} == {
        "a": 12,
        "b": 12,
        "c": 12,
        "d": 0,
    }


def test_detectors_are_left_in_their_mode_and_unchanged(show: Show) -> None:
    training, evaluating = detector(1).train(), detector(2)
    before = {key: value.clone() for key, value in training.state_dict().items()}
    adaptation_costs({"a": training, "b": evaluating}, *show(a=SIZE, b=SIZE))
    assert training.training
    assert not evaluating.training
    assert all(torch.equal(value, before[key]) for key, value in training.state_dict().items())


def test_descent_approaches_the_exact_optimum(show: Show) -> None:
    models = {
        "grey": Pyramid(lambda x: x.mean(dim=1, keepdim=True), strides=[16]),
        "colour": Pyramid(strides=[16]),
        "squared": Pyramid(lambda x: x.square(), strides=[16]),
    }
    pairs = [("squared", "colour"), ("colour", "squared"), ("colour", "grey")]
    train, validation = map(list, show(**dict.fromkeys(models, SIZE), batch_size=2))

    torch.manual_seed(0)
    learned = fit_by_descent(models, train, pairs, learning_rate=0.02)
    solved = solve(gather(models, train, pairs))

    for images in (train, validation):
        by_descent, exact = (costs(measure(models, maps, images)) for maps in (learned, solved))
        assert exact["squared"]["colour"] > 0.3
        for a, row in exact.items():
            assert by_descent[a] == pytest.approx(row, rel=0.002, abs=1e-6)


def test_descent_ends_on_a_plateau(show: Show) -> None:
    models = {"none": Pyramid(lambda x: 0 * x[:, :1], strides=[16]), "image": Pyramid(strides=[16])}
    train, _ = show(none=SIZE, image=SIZE, batch_size=8)
    torch.manual_seed(0)
    fit_by_descent(models, train, pairs=[("none", "image")], max_epochs=1000, learning_rate=0.1)
    assert models["image"].num_images < 8 * 300


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "x")], "a pair names 'x', which is none of"),
        ([("a", "b")], r"necks of 'a' and 'b' have strides \[8, 16\] and \[32\]"),
    ],
)
def test_impossible_pairs_are_refused(
    show: Show, pairs: list[tuple[str, str]], message: str
) -> None:
    models = {"a": Pyramid(), "b": Pyramid(strides=[32])}
    with pytest.raises(InvalidValueError, match=message):
        adaptation_costs(models, *show(a=SIZE, b=SIZE), pairs=pairs)


def test_impossible_images_are_refused(show: Show) -> None:
    models = {"a": Pyramid(strides=[128]), "b": Pyramid(strides=[128])}
    train, validation = show(a=SIZE, b=SIZE)
    with pytest.raises(InvalidValueError, match="no image .* to be fitted to"):
        adaptation_costs(models, [], validation)
    with pytest.raises(InvalidValueError, match="no image .* to be measured on"):
        adaptation_costs(models, train, [])
    with pytest.raises(InvalidValueError, match="an epoch has no image"):
        fit_by_descent(models, iter(train))
    few = [next(iter(train))]
    with pytest.raises(InvalidValueError, match="'a' to 'b', cells of stride 128: 4 samples"):
        adaptation_costs(models, few, validation)


def test_a_share_of_no_variance_is_refused(show: Show) -> None:
    models = {"a": Pyramid(), "b": Pyramid(lambda x: 0 * x)}
    with pytest.raises(InvalidValueError, match="features of 'b' at stride 8 are the same"):
        adaptation_costs(models, *show(a=SIZE, b=SIZE), pairs=[("a", "b")], normalize="target_var")
