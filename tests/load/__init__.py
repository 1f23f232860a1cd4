"""The app under load: many runs on hosts that are killed, and a long time on one host."""
