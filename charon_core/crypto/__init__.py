"""IKEv2's cryptography on top of the cryptography library: PRFs, ciphers, key exchange, signatures."""
