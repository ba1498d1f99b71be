"""`searchd demo`: a complete search on synthetic data, up to a Pareto front."""
