"""A copy of the app's tables in a folder, and back: the platform has no backup of Table Storage."""
