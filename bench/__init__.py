"""Measurements: what the app costs, beside what a user would pick instead and beside older checkouts of itself."""
