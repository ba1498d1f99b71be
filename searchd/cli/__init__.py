"""The command line: `searchd NOUN VERB`. One file for each noun.

Together with `searchd.up` the only place that knows everything; what needs torch or Ray is imported
by the command that needs it.
"""
