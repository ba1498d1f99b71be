"""Analyses of trained detectors: errors, loss landscapes, levels and logits."""
