"""Rows as released versions wrote them: every later version finishes what they are of."""
