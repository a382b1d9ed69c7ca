"""IKEv2 payloads, one small class each."""
