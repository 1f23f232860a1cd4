"""For development only, never deployed: the functions host, the scripted model, Azurite."""
