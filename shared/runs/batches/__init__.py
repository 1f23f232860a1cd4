"""Batches: many inputs, one status. Each item becomes an ordinary run with ids derived from the batch."""
