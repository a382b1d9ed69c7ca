"""stroke: the control socket, ipsec.conf and ipsec.secrets of charon."""
