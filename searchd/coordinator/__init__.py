"""The coordinator: leases work, starts and watches its drivers, guards disks, collects garbage.

Run as `python -m searchd.coordinator`. Knows no torch; speaks to Ray through `jobs` only.
"""
