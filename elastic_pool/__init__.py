"""The teachers: an elastic supernet whose subnets teach."""
