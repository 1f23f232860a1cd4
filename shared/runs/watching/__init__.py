"""Watching a run: what viewers are shown, from the rows and from the provider's own stream."""
