"""A load test: many clients at once against a real API, coordinator and database."""
