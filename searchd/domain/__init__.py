"""The vocabulary of searchd: pure data and pure functions, standard library only."""
