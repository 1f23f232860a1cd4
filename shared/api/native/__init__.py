"""The app's own API: a file a resource, with its handlers, what they answer with, and what they say of themselves."""
