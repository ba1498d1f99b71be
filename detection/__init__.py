"""Detectors and their training: the only package that imports mmdet, mmcv and mmengine."""
