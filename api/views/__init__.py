"""From rows of the database to what the API answers with."""
