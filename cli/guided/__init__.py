"""Commands that do everything from a data set to a report: `searchd demo` and `searchd run`."""
