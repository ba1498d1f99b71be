"""The messages between driver and workers: tasks, reports, and the names of their files."""
