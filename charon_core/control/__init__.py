"""Commands to the running daemon."""
