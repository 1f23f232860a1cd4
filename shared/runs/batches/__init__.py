"""Batches: many inputs with one status; their own submit, wake, cancel, delete and callback."""
