"""Detectors compared with each other: adaptation costs and latencies."""
