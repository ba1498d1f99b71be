"""Compares detectors with each other by adaptation costs and latencies."""
