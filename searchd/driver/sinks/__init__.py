"""Sinks: trials, losses and files of a run, recorded in TensorBoard, MLflow or W&B too.

The database stays the only record that anything here reads. A sink that fails, hangs or is gone
never hurts a trial: see `relay`.
"""
