"""The search strategies, one module each; `searchd.search.ask_tell` is what they share."""
