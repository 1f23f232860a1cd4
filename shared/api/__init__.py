"""The HTTP face: parse, call a use case, render. One file a resource."""
