"""A data set of 1 GB, and a submission to it. ``python -m benchmarks.large`` runs one fold alone."""
