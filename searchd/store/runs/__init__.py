"""Trials of searches and distillations, what workers reported of them, and what is kept."""
