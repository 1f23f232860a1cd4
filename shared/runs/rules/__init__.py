"""Pure functions: what follows from a fact, and what is next. No I/O, no clock."""
