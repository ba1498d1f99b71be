"""What runs on the cluster's workers: trials, pool training, teacher evaluation, comparisons."""
