"""Distillation of detectors: one file per method, and the `Distiller` that combines methods."""
