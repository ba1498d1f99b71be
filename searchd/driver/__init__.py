"""The driver: does one piece of work under a lease. `python -m searchd.driver --work ID`."""
