"""mmdet's configs and checkpoints: assembled, built, imported."""
