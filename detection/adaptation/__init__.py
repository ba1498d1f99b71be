"""Adaptation costs between detectors: how hard one's neck features are to map to another's."""
