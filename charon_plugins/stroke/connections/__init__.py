"""From an ADD_CONN message to the configurations that the daemon works with."""
