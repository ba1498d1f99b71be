"""The HTTP API in front of the store. It imports neither Ray nor torch.

It records the requests of users and answers from the database; it never starts anything itself.
"""
