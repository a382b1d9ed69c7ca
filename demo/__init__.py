"""The demonstration: two gateways, a tunnel between them, and traffic through it."""
