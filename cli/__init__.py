"""The command line, `searchd NOUN VERB`, and the launcher of the service on one machine.

The only folder that may import all others. A command that needs torch or Ray imports it itself, so
that other commands start fast.
"""
