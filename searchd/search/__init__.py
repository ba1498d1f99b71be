"""The decisions of searches and distillations, as pure functions.

Imports the standard library, numpy and `searchd.domain` only.
"""
