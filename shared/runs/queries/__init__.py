"""What is read for a caller: frozen values, complete with what lies in other rows. Nothing here writes."""
