"""The queue of work: leases, requests of users, and the only writer of statuses."""
