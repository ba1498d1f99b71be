"""searchd: a service that searches for better object detectors."""
