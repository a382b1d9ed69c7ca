"""Keeps the guard for the backend: whether there is one, what is said about it, and repairs."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import KernelError, KernelUnavailable

if TYPE_CHECKING:
    from charon_core.kernel.interface import BackendContext, PolicySpec
    from charon_core.kernel.userspace.guard import Guard
    from charon_core.kernel.userspace.host import Host
    from charon_core.kernel.userspace.settings import UserspaceOptions
    from charon_core.kernel.userspace.waiter import Reader

_CONTROL: Final = 1

REPAIR_SECONDS: Final = 5.0
"""Until a table that could not be repaired is tried again."""

NOT_ENFORCED: Final = (
    "without a guard: packets that a tunnel protects are accepted and forwarded even if they come "
    "in unprotected, by another interface than %s; and after a crash they go out unprotected: %s; "
    "until then set net.ipv4.conf.all.rp_filter=1 (IPv4 only, and only inbound), or have a "
    "firewall drop what comes from networks behind peers by another interface"
)


class GuardKeeper:
    """The guard of one backend, or that there is none; any worker may call it."""

    def __init__(self, context: BackendContext) -> None:
        """Have no guard yet."""
        self._log = context.log
        self._after = context.after
        # Guards the following.
        self._lock = threading.Lock()
        self._guard: Guard | None = None
        self._ports: set[int] = set()
        self._repairs = False

    def open(self, host: Host, device: str, options: UserspaceOptions) -> list[Reader]:
        """Create the guard; return what the data path's loop is to read for it.

        Raises:
            KernelUnavailable: There can be none, and the settings want one.
        """
        try:
            guard = host.open_guard(device, options, self._ports, self._changed)
        except KernelUnavailable as error:
            if options.guard == "on":
                raise
            self._log(_CONTROL, NOT_ENFORCED, device, error)
            return []
        with self._lock:
            self._guard = guard
        if guard is None:
            return []
        self._log(
            _CONTROL,
            "guard: nf_tables table inet %s drops what a tunnel protects and does not take %s",
            guard.name,
            device,
        )
        return [(guard.fileno(), guard.look)]

    def remove(self) -> None:
        """Remove the guard's table; to be done while the device keeps its name from others."""
        guard = self._guard
        if guard is None:
            return
        dropped = {side: number for side, number in guard.dropped().items() if number}
        if dropped:
            self._log(_CONTROL, "guard: dropped unprotected packets: %s", dropped)
        try:
            guard.remove()
        except OSError as error:
            self._log(_CONTROL, "removing table inet %s: %s", guard.name, error.strerror)

    def close(self) -> None:
        """Close the guard, when nobody reads what `open` has returned."""
        with self._lock:
            guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    def add_port(self, port: int) -> None:
        """Let IKE and ESP in UDP to a port of this host in.

        Raises:
            OSError: The kernel refuses.
        """
        self._ports.add(port)
        if self._guard is not None:
            self._guard.add_port(port)

    def add(self, spec: PolicySpec) -> None:
        """Guard what a policy covers.

        Raises:
            KernelError: Nothing has changed.
        """
        if self._guard is not None:
            self._guard.add(spec)

    def discard(self, spec: PolicySpec) -> None:
        """Stop guarding what a policy covered; what fails is logged, and repaired."""
        if self._guard is not None:
            try:
                self._guard.discard(spec)
            except KernelError as error:
                self._log(_CONTROL, "%s", error)

    def dropped(self) -> dict[str, int]:
        """Return the dropped packets of each direction."""
        return {} if self._guard is None else self._guard.dropped()

    # -- repairs ------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Have the table repaired on a worker, once for all changes until then."""
        with self._lock:
            if self._repairs:
                return
            self._repairs = True
        self._after(0, self._repair)

    def _repair(self) -> None:
        with self._lock:
            self._repairs = False
            guard = self._guard
        if guard is None:
            return
        try:
            restored = guard.restore()
        except OSError as error:
            self._log(
                _CONTROL,
                "guard: restoring table inet %s: %s; trying again in %d s",
                *(guard.name, error.strerror, REPAIR_SECONDS),
            )
            with contextlib.suppress(RuntimeError):  # the scheduler stops
                self._after(REPAIR_SECONDS, self._changed)
            return
        if restored:
            self._log(
                _CONTROL, "guard: table inet %s was changed from outside; restored", guard.name
            )
