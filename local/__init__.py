"""For development only, never deployed: the functions host, the scripted model, Azurite, the commands of dev.py."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
