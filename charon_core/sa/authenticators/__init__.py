"""Authenticators: how an AUTH payload is made and verified (RFC 7296 2.15)."""
