"""The life of a run. Knows the agent protocol; no HTTP, no driver."""
