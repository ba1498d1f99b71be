"""`searchd demo`: a search on synthetic data, from nothing to a Pareto front."""
