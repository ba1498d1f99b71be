"""The endpoints, one file for each resource: parse, call the store, respond."""
