"""IKE_SAs and CHILD_SAs: the state machine of RFC 7296."""
