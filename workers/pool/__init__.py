"""The training of an elastic teacher pool."""
