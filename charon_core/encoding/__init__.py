"""The IKEv2 wire format (RFC 7296 section 3): messages in, messages out, nothing else."""
