"""EAP packets and the registry of EAP methods."""
