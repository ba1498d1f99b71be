"""What is measured of a detector: COCO AP, multiply-accumulates, latency."""
