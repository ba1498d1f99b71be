"""How the service behaves as searches grow; `python -m benchmarks.scale` writes RESULTS.md."""
