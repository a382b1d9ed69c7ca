"""Tasks: one job inside an exchange each, as initiator and as responder."""
