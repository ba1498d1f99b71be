import pytest
import torch
from torch import Tensor

from detection.least_squares import (
    LinearMap,
    NormalEquations,
    SquaredError,
    with_constant,
)
from searchd.domain.errors import InvalidValueError


def sums(inputs: Tensor, outputs: Tensor) -> NormalEquations:
    rows = with_constant(inputs)
    return NormalEquations(gram=rows.T @ rows, cross=rows.T @ outputs)


def samples(num: int, num_inputs: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, num_inputs, generator=generator, dtype=torch.float64)


def error(solved: LinearMap, inputs: Tensor, outputs: Tensor) -> float:
    return SquaredError.of(solved(inputs), outputs).mean


def test_a_linear_relation_is_found() -> None:
    inputs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    solved = sums(inputs, 3 * inputs[:, :1] - inputs[:, 1:] + 5).solve()
    torch.testing.assert_close(solved.weight, torch.tensor([[3.0], [-1.0]], dtype=torch.float64))
    torch.testing.assert_close(solved.bias, torch.tensor([5.0], dtype=torch.float64))


def test_the_error_is_the_smallest_there_is() -> None:
    inputs, outputs = samples(200, 6) * 3 + 10, samples(200, 4, seed=1)
    rows = with_constant(inputs)
    optimum = torch.linalg.lstsq(rows, outputs).solution
    solved = sums(inputs, outputs).solve()
    torch.testing.assert_close(torch.cat([solved.weight, solved.bias[None]]), optimum)


def test_samples_may_come_in_parts() -> None:
    inputs, outputs = samples(60, 3), samples(60, 2, seed=1)
    parts = [sums(inputs[a:b], outputs[a:b]) for a, b in ((0, 10), (10, 11), (11, 60))]
    whole = sums(inputs, outputs)
    assert (parts[0] + parts[1] + parts[2]).num_samples == 60
    torch.testing.assert_close((parts[0] + parts[1] + parts[2]).gram, whole.gram)
    torch.testing.assert_close((parts[0] + parts[1] + parts[2]).cross, whole.cross)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_linearly_dependent_inputs_are_no_obstacle(rank: int) -> None:
    # Eight inputs made of fewer, as channels of a neck may be, rounded as features are.
    inputs = (samples(300, rank) @ samples(rank, 8, seed=1)).float().double()
    outputs = inputs @ samples(8, 3, seed=2) + 1
    solved = sums(inputs, outputs).solve()
    assert error(solved, inputs, outputs) < 1e-11
    assert solved.weight.abs().max() < 100


def test_what_the_inputs_do_not_span_stays_as_error() -> None:
    hidden = samples(4000, 3)
    inputs = hidden[:, :2] @ samples(2, 6, seed=1)
    solved = sums(inputs, hidden).solve()
    # Two of three outputs are spanned; the third, of variance 1, is not.
    assert error(solved, inputs, hidden) == pytest.approx(1 / 3, rel=0.05)


def test_constant_inputs_are_left_to_the_bias() -> None:
    constant = torch.tensor([[0.0, 7.0, 1e-3]], dtype=torch.float64).expand(50, 3)
    inputs, outputs = torch.cat([samples(50, 2), constant], dim=1), samples(50, 1, seed=1) + 4
    solved = sums(inputs, outputs).solve()
    alone = sums(inputs[:, :2], outputs).solve()
    assert solved.weight[2:].abs().max() == 0
    assert error(solved, inputs, outputs) == pytest.approx(error(alone, inputs[:, :2], outputs))


def test_units_of_the_inputs_change_nothing() -> None:
    inputs, outputs = samples(100, 3), samples(100, 2, seed=1)
    units = torch.tensor([1e-8, 1.0, 1e8], dtype=torch.float64)
    solved, rescaled = sums(inputs, outputs).solve(), sums(inputs * units, outputs).solve()
    torch.testing.assert_close(rescaled(inputs * units), solved(inputs))


def test_too_few_samples_are_refused() -> None:
    assert error(sums(samples(5, 3), samples(5, 1)).solve(), samples(5, 3), samples(5, 1)) >= 0
    with pytest.raises(InvalidValueError, match="4 samples are too few .* of 3 inputs"):
        sums(samples(4, 3), samples(4, 1)).solve()


def test_error_and_variance_are_means_over_samples_and_outputs() -> None:
    outputs = torch.tensor([[0.0, 10.0], [2.0, 10.0]], dtype=torch.float64)
    predicted = torch.tensor([[1.0, 10.0], [2.0, 7.0]], dtype=torch.float64)
    whole = SquaredError.of(predicted, outputs)
    parts = SquaredError.of(predicted[:1], outputs[:1]) + SquaredError.of(
        predicted[1:], outputs[1:]
    )
    assert whole.mean == parts.mean == 10 / 4
    assert whole.variance == parts.variance == 0.5  # (1 + 0) / 2
