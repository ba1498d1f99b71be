"""The names of files that driver and workers exchange through the artifact store."""

REPORT_FILE = "report.json"
"""In an attempt's folder; written last, so that its presence says that the attempt is complete."""

STOP_FILE = "stop.json"
"""In the search's folder; while it exists, workers stop at the end of their slice."""
