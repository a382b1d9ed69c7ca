"""Datagrams in and out: sockets, receiver, sender, cookies."""
