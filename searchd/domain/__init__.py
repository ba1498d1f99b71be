"""The vocabulary of searchd: immutable values and pure functions. Standard library only."""
