"""How far the app goes: arithmetic on what the bench has counted and on published limits. `python3 dev.py simulate`."""
