"""Commands about what the service stores: one file for each noun."""
