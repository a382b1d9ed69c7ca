"""Keys, certificates and secrets, and the trust that is built from them."""
