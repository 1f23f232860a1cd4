"""What the examples share: who has signed in, calls to the app, the page's files."""
