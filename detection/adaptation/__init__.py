"""Adaptation costs between detectors: how well one's neck features map to another's."""
