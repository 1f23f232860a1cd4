"""Traces of runs: plain records, which are exported where that is configured."""
