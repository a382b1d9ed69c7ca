"""Linux IPsec by netlink: message classes, algorithm names, the backend."""
