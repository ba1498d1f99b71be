"""The queue of work: leases, requests of users and the disk guard, and changes of status."""
