"""The device of the tests that need a GPU: `SEARCHD_TEST_DEVICE=cpu` tries them without one."""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    name = os.environ.get("SEARCHD_TEST_DEVICE", "cuda")
    assert name == "cpu" or torch.cuda.is_available(), "torch finds no GPU"
    return name


@pytest.fixture(scope="session")
def share(device: str) -> float:
    """Half a GPU, or none."""
    return 0.5 if device == "cuda" else 0
