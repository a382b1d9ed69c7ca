"""ipsec.secrets and the folders of ipsec.d: what they hold goes into the credential sets."""
