"""Measures a detector: COCO AP, multiply-accumulates, latency."""
