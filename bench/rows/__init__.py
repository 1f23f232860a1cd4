"""The rows of the comparison, one file for what is measured in the same way."""
