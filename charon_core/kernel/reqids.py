"""Numbers that tie the SAs and the policies of one CHILD_SA together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Union

from charon_core.kernel.interface import REQID_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import Mark

_FIRST: Final = 1

_Side = Union["TrafficSelector", "frozenset[TrafficSelector]"]
_Key = tuple[_Side, _Side, "Mark | None", "Mark | None", int]


class ReqidAllocator:
    """Gives the same reqid to the same selectors and marks, for as long as somebody holds it.

    Rekeyed, rerouted and reauthenticated CHILD_SAs thereby find the policies that are already
    installed. A released number is not given out again before the counter has wrapped, so that
    a late event of the kernel does not hit a stranger.
    """

    def __init__(self) -> None:
        # Guards the three attributes below.
        self._lock = threading.Lock()
        self._by_key: dict[_Key, int] = {}
        self._holders: dict[int, tuple[_Key | None, int]] = {}
        self._next = _FIRST

    def acquire(
        self,
        local_ts: Sequence[TrafficSelector],
        remote_ts: Sequence[TrafficSelector],
        *,
        mark_in: Mark | None = None,
        mark_out: Mark | None = None,
        if_id: int = 0,
        fixed: int = 0,
    ) -> int:
        """Take a reference to the reqid of these selectors; the order of selectors is irrelevant.

        Args:
            local_ts: selectors of our side.
            remote_ts: selectors of the peer's side.
            mark_in: mark of inbound policies and SAs.
            mark_out: mark of outbound policies and SAs.
            if_id: XFRM interface identifier.
            fixed: the number that the configuration prescribes; it is used as it is, and from
                then on not given to anybody else.

        Raises:
            ValueError: ``fixed`` is outside 0..2^32-1.
        """
        if not 0 <= fixed <= REQID_LIMIT:
            raise ValueError(f"reqid must be in 0..{REQID_LIMIT}, got {fixed}")
        key = (_side(local_ts), _side(remote_ts), mark_in, mark_out, if_id)
        with self._lock:
            if fixed:
                known, count = self._holders.get(fixed, (None, 0))
                self._holders[fixed] = (known, count + 1)
                return fixed
            reqid = self._by_key.get(key)
            if reqid is None:
                reqid = self._free_number()
                self._by_key[key] = reqid
                self._holders[reqid] = (key, 1)
            else:
                self._holders[reqid] = (key, self._holders[reqid][1] + 1)
            return reqid

    def hold(self, reqid: int) -> None:
        """Take one more reference to a reqid that is held already.

        Raises:
            KeyError: nobody holds it.
        """
        with self._lock:
            key, count = self._holders[reqid]
            self._holders[reqid] = (key, count + 1)

    def release(self, reqid: int) -> None:
        """Drop one reference.

        Raises:
            KeyError: nobody holds this reqid.
        """
        with self._lock:
            key, count = self._holders[reqid]
            if count > 1:
                self._holders[reqid] = (key, count - 1)
                return
            del self._holders[reqid]
            if key is not None:
                del self._by_key[key]

    def __len__(self) -> int:
        return len(self._holders)

    def _free_number(self) -> int:
        while self._next in self._holders:
            self._step()
        reqid = self._next
        self._step()
        return reqid

    def _step(self) -> None:
        self._next = self._next + 1 if self._next < REQID_LIMIT else _FIRST


def _side(selectors: Sequence[TrafficSelector]) -> _Side:
    """The selectors without their order; a set of one would cost 200 octets more than it."""
    return selectors[0] if len(selectors) == 1 else frozenset(selectors)
