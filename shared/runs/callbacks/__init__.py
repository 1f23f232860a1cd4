"""Callbacks: what a caller's address is told of a run or a batch, and how it is delivered."""
