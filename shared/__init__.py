"""Dormouse: long agent runs on Azure Functions, with nothing running while the model thinks."""
