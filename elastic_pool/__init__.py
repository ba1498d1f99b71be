"""The teacher pool: an elastic supernet whose subnets teach."""
