"""The values of a run's life: frozen, without I/O, without a clock."""
