"""One trial: a student evolved, distilled for a few epochs, evaluated and reported."""
