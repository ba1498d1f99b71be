"""Readers of the annotation formats. Each returns documents in COCO's format."""
