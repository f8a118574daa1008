"""Measurements of datarun: each prints times and ratios of one run. They assert nothing."""
