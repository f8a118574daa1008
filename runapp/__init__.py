"""The master: data sets, submissions, folds and their jobs, the API over them, and the scheduler."""
