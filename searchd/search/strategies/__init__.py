"""What is tried next, one module per strategy; `searchd.search.ask_tell` is what they share."""
