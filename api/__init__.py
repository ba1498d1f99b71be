"""The door: HTTP in front of the store. Knows no Ray and no torch.

Records what users want and answers from the database; it never starts anything itself.
"""
