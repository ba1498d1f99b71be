"""Conversion of database rows to the responses of the API."""
