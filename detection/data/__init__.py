"""Detection data in COCO format: reading, checking, batching, and a synthetic set."""
