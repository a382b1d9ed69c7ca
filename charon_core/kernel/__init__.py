"""IPsec SAs, policies, addresses and routes behind one interface with several backends."""
