"""charon: an IKEv2 keying daemon (RFC 7296) with plugins."""

__version__ = "0.1.0"
