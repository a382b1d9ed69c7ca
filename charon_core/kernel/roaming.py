"""Telling changes of addresses and routes that matter to peers from the noise of rtnetlink."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING

from charon_core.kernel import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.kernel.netlink import Frame
    from charon_core.kernel.rtnetlink import InterfaceAddress, Link


class Change(enum.IntEnum):
    """What an event means for the paths to peers."""

    NOTHING = 0
    ROUTE = 1
    ADDRESS = 2


class RoamFilter:
    """Knows the addresses and links, and judges each event against them.

    Kernels repeat themselves: router advertisements renew addresses every few seconds, links
    report statistics, IPv6 adds cache entries, TUN devices come without addresses. Only what
    changes the usable addresses, the state of a link that has some, or a unicast route outside
    our own table is a change.
    """

    def __init__(self, own_table: int) -> None:
        self._own_table = own_table
        self._usable: set[tuple[int, str]] = set()
        self._links: dict[int, bool] = {}

    def learn(self, addresses: Iterable[InterfaceAddress], links: Iterable[Link]) -> None:
        """Take over the present state."""
        self._usable = {(a.ifindex, a.host) for a in addresses if a.is_usable}
        self._links = {link.ifindex: link.is_up for link in links}

    def judge(self, frame: Frame) -> Change:
        """Return what an event changes; one that is malformed changes nothing."""
        try:
            match frame.type:
                case rtnetlink.RTM_NEWADDR | rtnetlink.RTM_DELADDR:
                    return self._judge_address(frame)
                case rtnetlink.RTM_NEWLINK | rtnetlink.RTM_DELLINK:
                    return self._judge_link(frame)
                case rtnetlink.RTM_NEWROUTE | rtnetlink.RTM_DELROUTE:
                    return self._judge_route(frame)
                case _:
                    return Change.NOTHING
        except (struct.error, ValueError):
            return Change.NOTHING

    def _judge_address(self, frame: Frame) -> Change:
        address = rtnetlink.parse_address(frame)
        if address is None:
            return Change.NOTHING
        key = (address.ifindex, address.host)
        was_usable = key in self._usable
        is_usable = frame.type == rtnetlink.RTM_NEWADDR and address.is_usable
        if is_usable == was_usable:
            return Change.NOTHING
        if is_usable:
            self._usable.add(key)
        else:
            self._usable.discard(key)
        return Change.ADDRESS

    def _judge_link(self, frame: Frame) -> Change:
        link = rtnetlink.parse_link(frame)
        was_up = self._links.get(link.ifindex, False)
        if frame.type == rtnetlink.RTM_DELLINK:
            self._links.pop(link.ifindex, None)
            is_up = False
        else:
            is_up = self._links[link.ifindex] = link.is_up
        has_addresses = any(ifindex == link.ifindex for ifindex, _ in self._usable)
        return Change.ADDRESS if has_addresses and is_up != was_up else Change.NOTHING

    def _judge_route(self, frame: Frame) -> Change:
        route = rtnetlink.parse_route(frame)
        if route is None or route.table in {self._own_table, rtnetlink.TABLE_LOCAL}:
            return Change.NOTHING
        return Change.ROUTE if route.concerns_peers else Change.NOTHING
