"""The command line, `searchd NOUN VERB`, and the launcher of the service on one machine.

The only folder that may import all others. What needs torch or Ray is imported by the command that
needs it.
"""
