"""Side-by-side measurements against named peers; each module is one command."""
