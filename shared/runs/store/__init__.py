"""Persist and restore: rows in Table Storage."""
