"""What is looked at in trained detectors: errors, loss landscapes, levels and logits."""
