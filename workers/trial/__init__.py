"""One trial: evolve a student, distil it for a few epochs, evaluate it and report."""
