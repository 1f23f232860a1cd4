"""`dev.py prove`: what is shown to hold, with its figures."""
