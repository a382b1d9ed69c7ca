"""The client side of the control socket: the `charon-stroke` command and what starter shares."""
