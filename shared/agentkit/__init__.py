"""What an agent is. Knows no table, no HTTP, no Functions."""
