"""The kernel's multicast messages about SAs and policies, as events."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import IpsecProtocol
from charon_core.kernel.netlink import NETLINK_XFRM, EventSocket, OverrunError
from charon_core.kernel.xfrm import constants
from charon_core.network.packet import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.interface import KernelEvents
    from charon_core.kernel.netlink import Frame

_GROUPS: Final = (
    constants.XFRMNLGRP_ACQUIRE,
    constants.XFRMNLGRP_EXPIRE,
    constants.XFRMNLGRP_MAPPING,
)
_LEVEL_CONTROL: Final = 1
_LEVEL_MORE: Final = 2
_IPSEC: Final = frozenset(IpsecProtocol)


class XfrmEvents:
    """Reads the events of the kernel and passes on those that concern this daemon."""

    def __init__(
        self,
        events: KernelEvents,
        log: Callable[..., None],
        is_ours: Callable[[int, str, IpsecProtocol], bool],
    ) -> None:
        """Open the socket.

        Args:
            events: told of everything.
            log: ``log(level, message, *args)``.
            is_ours: tells whether an SA (SPI, destination, protocol) was installed by us: expire
                events of mere reservations and of other programs are not for charon.

        Raises:
            OSError: the kernel has no XFRM netlink, or we may not use it.
        """
        self._events = events
        self._log = log
        self._is_ours = is_ours
        self._socket = EventSocket(NETLINK_XFRM, _GROUPS)
        self._closed = False

    def run(self) -> None:
        """Wait for the next messages and pass them on: the body of a loop."""
        if self._closed:
            return
        try:
            frames = self._socket.receive(None)
        except OverrunError:
            self._log(
                _LEVEL_CONTROL,
                "events of the kernel were lost: expiring SAs may go unnoticed until they are used",
            )
            return
        for frame in frames:
            self.dispatch(frame)

    def wake(self) -> None:
        """Let :meth:`run` return at once."""
        self._socket.wake()

    def close(self) -> None:
        """Close the socket, after the loop has ended."""
        self._closed = True
        self._socket.close()

    def dispatch(self, frame: Frame) -> None:
        """Pass one message on; what cannot be understood is logged and skipped."""
        handler = {
            constants.XFRM_MSG_ACQUIRE: self._acquire,
            constants.XFRM_MSG_EXPIRE: self._expire,
            constants.XFRM_MSG_MAPPING: self._mapping,
        }.get(frame.type)
        if handler is None:
            return
        try:
            handler(frame)
        except (struct.error, ValueError, KeyError) as error:
            self._log(
                _LEVEL_CONTROL,
                "XFRM event of type %#x with %d octets was not understood: %s",
                frame.type,
                len(frame.data),
                error,
            )

    def _acquire(self, frame: Frame) -> None:
        from charon_core.kernel.xfrm.messages import user_acquire
        from charon_core.kernel.xfrm.selectors import from_kernel

        message = user_acquire(frame.data)
        message.decode()
        templates = message.get_attr("XFRMA_TMPL") or []
        reqid = templates[0]["reqid"] if templates else 0
        if not reqid:
            self._log(_LEVEL_MORE, "acquire event without a reqid: the policy is not ours")
            return
        source_ts, destination_ts = from_kernel(message["sel"])
        self._events.acquire(reqid, source_ts, destination_ts)

    def _expire(self, frame: Frame) -> None:
        from charon_core.kernel.xfrm.messages import user_expire

        message = user_expire(frame.data)
        message.decode()
        identity = message["state"]["id"]
        if identity["proto"] not in _IPSEC:
            return
        protocol = IpsecProtocol(identity["proto"])
        spi, destination = identity["spi"], identity["daddr"]
        if self._is_ours(spi, destination, protocol):
            self._events.expire(protocol, spi, destination, bool(message["hard"]))

    def _mapping(self, frame: Frame) -> None:
        from charon_core.kernel.xfrm.messages import user_mapping

        message = user_mapping(frame.data)
        message.decode()
        identity = message["id"]
        if identity["proto"] not in _IPSEC:
            return
        protocol = IpsecProtocol(identity["proto"])
        if self._is_ours(identity["spi"], identity["daddr"], protocol):
            self._events.mapping(
                message["reqid"],
                identity["spi"],
                Endpoint(message["old_saddr"], message["old_sport"]),
                Endpoint(message["new_saddr"], message["new_sport"]),
            )
