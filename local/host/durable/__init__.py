"""Durable orchestrations in memory: replay of a history (`replay`), the task hub, and its management API.

It speaks the out-of-process protocol (1.x, JSON) of the Durable extension to the unmodified
azure-functions-durable, with the extension's own defects, since orchestrators must be written around them.
"""
