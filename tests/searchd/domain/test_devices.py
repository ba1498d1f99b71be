"""What devices can do and like."""

import pytest

from searchd.domain.devices import RUNTIMES, RuntimeName, check_runtime, preferred_multiple
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision


def test_every_runtime_has_a_module() -> None:
    assert set(RUNTIMES) == set(RuntimeName)


def test_a_runtime_without_a_gpu_refuses_one_and_names_the_others() -> None:
    check_runtime(RuntimeName.TORCH, Precision.FP32, gpu=True)
    with pytest.raises(InvalidValueError, match="onnxruntime uses the CPU only; use torch"):
        check_runtime(RuntimeName.ONNXRUNTIME, Precision.FP32, gpu=True)


def test_graphs_run_in_8_bits_and_torch_does_not() -> None:
    check_runtime(RuntimeName.ONNXRUNTIME, Precision.INT8, gpu=False)
    check_runtime(RuntimeName.OPENVINO, Precision.INT8, gpu=False)
    with pytest.raises(InvalidValueError, match="int8 is not available for runtime=torch; use fp"):
        check_runtime(RuntimeName.TORCH, Precision.INT8, gpu=False)


def test_gpus_and_integers_like_multiples_of_8_channels_and_cpus_any_number() -> None:
    assert preferred_multiple(Precision.FP32, gpu=True) == 8
    assert preferred_multiple(Precision.INT8, gpu=False) == 8
    assert preferred_multiple(Precision.FP32, gpu=False) == 1
