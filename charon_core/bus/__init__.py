"""Log lines and events, from the daemon to those who listen."""
