"""Writes trained detectors in formats that run without this project, and proves that they agree."""
