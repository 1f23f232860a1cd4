"""Webhooks: in from the provider, out to callers."""
