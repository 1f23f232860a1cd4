"""Three ways to let people in, each the smallest thing that works: README.md says how to run them."""
