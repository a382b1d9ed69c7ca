"""The guard: what a policy protects does not come in, or go out, around the TUN device.

RFC 4301 section 5.2: a packet that a PROTECT policy covers and that arrives unprotected MUST be
dropped. The routes do not see to that: they only say where packets go. So there is an nf_tables
table of our own, whose name ends with that of the device, and what it drops it counts.

The table outlives a daemon that dies: what its tunnels protected stays closed until the next daemon
with a device of this name takes its place, or until somebody removes the table.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from charon_core.kernel import nftables
from charon_core.kernel.interface import KernelError
from charon_core.kernel.netlink import NetlinkError, OverrunError
from charon_core.kernel.nftables import Kind, Table
from charon_core.kernel.userspace.guard_rules import Cover, Side, add_port, skeleton
from charon_core.kernel.userspace.pairs import Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.netlink import EventSocket, Message, NetlinkSocket

SEND_BUFFER: Final = 4 << 20
"""Octets of the largest transaction: some ten thousand rules of exceptions."""

_RESTORED_AT_ONCE: Final = 50
_EVENTS_AT_ONCE: Final = 64


@dataclass(slots=True)
class _Placed:
    """Where a cover is in the table, and how many policies want it there."""

    users: int = 0
    in_set: bool = False
    chain: str = ""
    handles: list[int] = field(default_factory=list)


class Guard:
    """The table of one TUN device; any worker may call it.

    Attributes:
        name: The name of the table.
    """

    def __init__(
        self,
        netlink: NetlinkSocket,
        events: EventSocket,
        *,
        device: str,
        index: int,
        mark: int,
        changed: Callable[[], None],
    ) -> None:
        """Take over the sockets; nothing is installed yet.

        Args:
            netlink: A socket of NETLINK_NETFILTER.
            events: Another one, of the group `nftables.EVENT_GROUP`.
            device: Name of the TUN device.
            index: Its index.
            mark: The mark of packets that go around it.
            changed: Called when somebody else has changed the table; `restore` puts it right.
        """
        self.name = f"charon-{device}"
        self._table = Table(self.name)
        self._netlink = netlink
        self._events = events
        self._index = index
        self._mark = mark
        self._changed = changed
        # Guards what follows, and keeps the kernel's order the same as theirs.
        self._lock = threading.Lock()
        self._is_open = False
        self._ports: set[int] = set()
        self._placed: dict[Cover, _Placed] = {}
        self._pairs = {(side, family): Pairs() for side in Side for family in (4, 6)}
        # The strengths of the covers that let packets pass: the others mostly come after them all.
        self._passing: dict[Side, Counter[int]] = {side: Counter() for side in Side}

    # -- life ---------------------------------------------------------------------------------

    def open(self, ports: Iterable[int]) -> None:
        """Create the table in the place of one that was left behind.

        Args:
            ports: Where IKE and ESP in UDP arrive.

        Raises:
            OSError: The kernel cannot do it, or we may not; there is no table.
        """
        with self._lock:
            self._ports.update(ports)
            self._create()
            self._is_open = True

    def remove(self) -> None:
        """Remove the table; `look` and `restore` do nothing any more.

        Raises:
            OSError: It may still be there.
        """
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._send([self._table.delete()])

    def close(self) -> None:
        """Close the sockets; nobody may be in `look`."""
        self._netlink.close()
        self._events.close()

    def dropped(self) -> dict[str, int]:
        """Return the packets that were dropped, by direction; empty where that is not known."""
        numbers: dict[str, int] = {}
        with self._lock, contextlib.suppress(OSError):
            for side in Side if self._is_open else ():
                kind, body, flags = self._table.get_counter(side.counter)
                number = nftables.counted(self._netlink.query(kind, body, flags))
                if number is not None:
                    numbers[side.value] = number
        return numbers

    # -- what is guarded ----------------------------------------------------------------------

    def add_port(self, port: int) -> None:
        """Let IKE and ESP in UDP to a port of this host in, whatever policies cover.

        Raises:
            OSError: The kernel refuses.
        """
        with self._lock:
            if port not in self._ports:
                self._send([add_port(self._table, port)])
                self._ports.add(port)

    def add(self, spec: PolicySpec) -> None:
        """Guard what a policy covers.

        Raises:
            KernelError: Nothing has changed.
        """
        cover = Cover.of(spec)
        with self._lock:
            placed = self._placed.get(cover)
            if placed is None:
                try:
                    placed = self._place(cover)
                except OSError as error:
                    raise _refused(f"guard policy {spec}", error) from error
                self._placed[cover] = placed
            placed.users += 1

    def discard(self, spec: PolicySpec) -> None:
        """Stop guarding what a policy covered, if no other one does.

        Raises:
            KernelError: It may be guarded still; it is forgotten nevertheless.
        """
        cover = Cover.of(spec)
        with self._lock:
            placed = self._placed.get(cover)
            if placed is None:
                return
            placed.users -= 1
            if placed.users:
                return
            del self._placed[cover]
            try:
                self._displace(cover, placed)
            except OSError as error:
                self._changed()
                raise _refused(f"end guarding policy {spec}", error) from error

    # -- what others do -----------------------------------------------------------------------

    def fileno(self) -> int:
        """Return what can be read when the ruleset was changed."""
        return self._events.fileno()

    def look(self, _events: int = 0) -> None:
        """Read what was changed; somebody may have removed the table (``nft flush ruleset``)."""
        for _ in range(_EVENTS_AT_ONCE):
            try:
                frames = self._events.receive(0)
            except OverrunError:
                self._changed()
                continue
            if not frames:
                return
            if any(
                nftables.table_of(frame) == self.name and frame.port != self._netlink.port
                for frame in frames
            ):
                self._changed()

    def restore(self) -> bool:
        """Make the table what it is to be, whatever it is; False if there is to be none.

        Raises:
            OSError: It may lack something now.
        """
        with self._lock:
            if not self._is_open:
                return False
            self._create()
            covers = list(self._placed.items())
            for side in Side:
                self._send(self._exceptions(side))
            for start in range(0, len(covers), _RESTORED_AT_ONCE):
                self._place_again(covers[start : start + _RESTORED_AT_ONCE])
        return True

    # -- with the lock held -------------------------------------------------------------------

    def _create(self) -> None:
        messages = skeleton(self._table, self._index, self._mark)
        self._send([*messages, *(add_port(self._table, port) for port in sorted(self._ports))])

    def _send(self, messages: list[Message]) -> list[int]:
        """Do all of it or nothing; return the handles of new rules."""
        frames = self._netlink.transact(nftables.batch(messages)) if messages else []
        handles = map(nftables.rule_handle, frames)
        return [handle for handle in handles if handle is not None]

    def _place(self, cover: Cover) -> _Placed:
        placed = _Placed()
        passing = self._passing[cover.side]
        if cover.passes:
            passing[cover.strength] += 1
        pairs = self._pairs[cover.side, cover.source.family]
        if not cover.passes:
            placed.chain = cover.side.wide if cover.is_wide else cover.side.rules
            if not cover.is_wide and cover.is_plain:
                placed.in_set = pairs.add(cover.own, cover.other)
        messages = self._messages(cover, placed)
        try:
            if self._is_exception(cover):
                self._placed[cover] = placed
                messages += self._exceptions(cover.side)
            placed.handles = self._send(messages)
        except BaseException:
            self._placed.pop(cover, None)
            self._unnote(cover, placed)
            raise
        return placed

    def _displace(self, cover: Cover, placed: _Placed) -> None:
        was_exception = self._is_exception(cover)
        self._unnote(cover, placed)
        messages = []
        if placed.in_set:
            name = cover.side.pairs(cover.source.family)
            messages.append(self._table.delete_element(name, cover.element()))
        messages += [self._table.delete_rule(placed.chain, handle) for handle in placed.handles]
        if was_exception:
            messages += self._exceptions(cover.side)
        try:
            self._send(messages)
        except NetlinkError as error:
            # Somebody has emptied the table: that it is gone is what was wanted.
            if error.errno != errno.ENOENT:
                raise

    def _unnote(self, cover: Cover, placed: _Placed) -> None:
        if cover.passes:
            passing = self._passing[cover.side]
            passing[cover.strength] -= 1
            if not passing[cover.strength]:
                del passing[cover.strength]
        if placed.in_set:
            self._pairs[cover.side, cover.source.family].remove(cover.own, cover.other)

    def _messages(self, cover: Cover, placed: _Placed) -> list[Message]:
        """Return what puts a cover where it has its place, beside the chain of exceptions."""
        if cover.passes:
            return []
        table = self._table
        if placed.in_set:
            name = cover.side.pairs(cover.source.family)
            return [table.add_element(name, cover.element())]
        chain = placed.chain
        messages = [table.add_rule(chain, rule, echo=True) for rule in cover.rules()]
        if cover.is_wide:
            messages.append(table.add_rule(chain, cover.stays_here(), first=True, echo=True))
        return messages

    def _rules_of(self, cover: Cover, placed: _Placed) -> int:
        return sum(each.type == Kind.NEWRULE.type for each in self._messages(cover, placed))

    def _place_again(self, covers: list[tuple[Cover, _Placed]]) -> None:
        messages = [each for cover, placed in covers for each in self._messages(cover, placed)]
        handles = self._send(messages)
        for cover, placed in covers:
            number = self._rules_of(cover, placed)
            placed.handles, handles = handles[:number], handles[number:]

    def _is_exception(self, cover: Cover) -> bool:
        """Whether it lets packets pass, or is to be asked before one that does."""
        passing = self._passing[cover.side]
        return cover.passes or (bool(passing) and cover.strength <= max(passing))

    def _exceptions(self, side: Side) -> list[Message]:
        """Return what fills the chain of exceptions anew; among equals a drop comes first."""
        covers = [each for each in self._placed if each.side is side and self._is_exception(each)]
        covers.sort(key=lambda each: (each.strength, each.passes))
        table = self._table
        rules = [table.add_rule(side.exceptions, rule) for each in covers for rule in each.rules()]
        return [table.flush_chain(side.exceptions), *rules]


def _refused(operation: str, error: OSError) -> KernelError:
    code = error.errno or 0
    advice = "charon needs CAP_NET_ADMIN" if code == errno.EPERM else ""
    return KernelError(operation, str(getattr(error, "reason", error.strerror)), advice, code)
