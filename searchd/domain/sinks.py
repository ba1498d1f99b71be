"""Sinks: where runs are recorded besides this service. Standard library only."""

from enum import StrEnum


class SinkKind(StrEnum):
    """A kind of sink.

    Attributes:
        TENSORBOARD: Event files for TensorBoard.
        MLFLOW: A tracking server of MLflow.
        WANDB: Offline runs of Weights & Biases, which `wandb sync` uploads.
    """

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"
