"""What goes out to addresses that callers chose: which may be called at all, and how they are."""
