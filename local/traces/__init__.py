"""Receives what the app exports by OTLP, and shows it in a terminal."""
