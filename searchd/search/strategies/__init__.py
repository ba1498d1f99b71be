"""What is tried next, one module per strategy; `searchd.search.strategy` is what they share."""
