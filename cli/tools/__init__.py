"""Commands that need no running service: calculators, analyses, crop classifier training."""
