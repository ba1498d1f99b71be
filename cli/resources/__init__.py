"""The commands about resources of the service, one file for each resource."""
