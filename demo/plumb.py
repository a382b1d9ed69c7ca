"""Gives interfaces of the host that it runs on addresses: INTERFACE ADDRESS/BITS ..."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Set addresses, and all named interfaces and lo up."""
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        for name, text in zip(arguments[::2], arguments[1::2], strict=True):
            index = netlink.link_lookup(ifname=name)[0]
            address, _, bits = text.partition("/")
            netlink.addr("add", index=index, address=address, prefixlen=int(bits))
            netlink.link("set", index=index, state="up")
        netlink.link("set", index=netlink.link_lookup(ifname="lo")[0], state="up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
