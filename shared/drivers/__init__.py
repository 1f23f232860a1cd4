"""What causes wakes: an orchestration per run, or a timer's sweep. Knows `runs`; knows no HTTP."""
