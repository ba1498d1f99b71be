"""The decisions of a search, pure: standard library, numpy and `searchd.domain` only."""
