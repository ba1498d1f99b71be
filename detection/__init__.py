"""The detector toolbox: the only package that imports mmdet, mmcv and mmengine."""
