"""What driver and workers hand each other: tasks, reports, and the names of files."""
