"""Values that travel between the sockets and everybody else: an endpoint and an IKE datagram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Endpoint(NamedTuple):
    """One end of a UDP flow; ``str()`` gives ``10.0.0.1[500]``.

    Attributes:
        host: The address in its canonical text, without brackets and without a zone except for
            link-local IPv6 addresses (``fe80::1%eth0``).
        port: The UDP port, 0..65535.
    """

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether the address is of the IPv6 family."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"{self.host}[{self.port}]"


@dataclass(frozen=True, slots=True)
class Packet:
    """One IKE message with where it came from and where it goes.

    Attributes:
        source: The sender's endpoint. Of a received packet its port tells whether a NAT changed
            it; of one to be sent its host selects the local address and its port the socket.
            A host of ``""`` leaves the choice of the address to the kernel.
        destination: The endpoint to which the packet was or will be sent.
        data: The IKE message, without the non-ESP marker (RFC 3948 section 2.2), which the
            sockets strip and add.
        dscp: Differentiated services code point of a packet to be sent, 0..63. Not known (0) of
            received ones.
    """

    source: Endpoint
    destination: Endpoint
    data: bytes
    dscp: int = 0

    def reply(self, data: bytes) -> Packet:
        """Return the packet that carries ``data`` back the way that this one came."""
        return Packet(self.destination, self.source, data, self.dscp)
