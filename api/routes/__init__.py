"""Endpoints, one file for each noun: parse, call the store, answer."""
