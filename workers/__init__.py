"""The trials: what runs on the cluster's workers."""
