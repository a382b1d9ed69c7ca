"""Cryptography of IKEv2: PRFs, ciphers, key exchange, signatures and key derivation.

Modules are imported one by one on purpose: the package itself loads nothing, so that a component
that only needs a PRF does not pay for the asymmetric algorithms.
"""
