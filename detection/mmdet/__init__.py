"""Builds mmdet's own configs and imports its checkpoints."""
