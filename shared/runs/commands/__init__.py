"""What callers can have done to runs and sessions. Whoever calls one signals the driver afterwards."""
