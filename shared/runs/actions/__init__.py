"""What a wake does: ask the provider, run tools, work through the outbox; each commits facts as they happen."""
