"""Durable orchestrations in memory: what a replay comes to (`replay`), the task hub, and its HTTP face.

It speaks the out-of-process protocol (1.x, JSON) of the Durable extension to the unmodified
azure-functions-durable, with the extension's own defects, since orchestrators must be written around them.
"""
