"""The HTTP face: parse, call a command or a query, render. What its two APIs share is here, each has a folder."""
