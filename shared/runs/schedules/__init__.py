"""Schedules: made, changed and removed by their owners; each occurrence is submitted as an ordinary run."""
