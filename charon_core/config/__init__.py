"""What connections are configured to be: identities, proposals, selectors, peers, children."""
