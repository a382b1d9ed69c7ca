"""A stream that runs while something happens to its tunnel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.interop.traffic import echo_tcp
from tests.interop.tunnels import Side

if TYPE_CHECKING:
    from tests.interop.pair import Pair
    from tests.interop.tunnels import Tunnel


class Stream:
    """A TCP connection through a tunnel that outlives what happens meanwhile."""

    def __init__(self, pair: Pair, tunnel: Tunnel, octets: int) -> None:
        near, far = tunnel.inside(Side.OURS), tunnel.inside(Side.THEIRS)
        self._ends = (pair.lab.ours, near), (pair.lab.theirs, far)
        self._octets = octets
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            echo_tcp(*self._ends, octets=self._octets)
        except (AssertionError, OSError) as error:
            self._error = error

    @property
    def runs(self) -> bool:
        """Whether it has not come to its end yet."""
        return self._thread.is_alive()

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
