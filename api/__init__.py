"""The door: HTTP in front of the database."""
