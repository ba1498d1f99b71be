"""The coordinator: leases work, starts and monitors its drivers, guards disks, collects garbage.

Run as `python -m searchd.coordinator`. It does not import torch, and uses Ray through `jobs` only.
"""
