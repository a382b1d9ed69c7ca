"""Reference counts of security policies, whatever the backend."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from charon_core.kernel.interface import SaNotFound

if TYPE_CHECKING:
    from charon_core.kernel.interface import IpsecBackend, PolicyKey, PolicySpec


class PolicyTable:
    """Who wants which policy; the backend holds the strongest for each selector.

    A kernel has room for one policy per selectors, direction, mark and if_id. CHILD_SAs that
    overlap (rekeying, a trap below an installed one, a move to new addresses) each add theirs;
    the strongest one, and among equals the newest, is in the kernel. When it goes, the next one
    takes its place.
    """

    def __init__(self, backend: IpsecBackend) -> None:
        self._backend = backend
        # Guards _wanted, and keeps the backend's order of calls the same as that of the table.
        self._lock = threading.Lock()
        # Strongest first; a policy that was added twice is there twice.
        self._wanted: dict[PolicyKey, tuple[PolicySpec, ...]] = {}

    def add(self, spec: PolicySpec) -> None:
        """Count one more user of ``spec``; install it if it is now the strongest.

        Raises:
            KernelError: nothing has changed.
        """
        only = (spec,)
        with self._lock:
            # Mostly nobody wants it yet: then its key is hashed once, which is half of the work.
            wanted = self._wanted.setdefault(spec.key, only)
            if wanted is only:
                try:
                    self._backend.add_policy(spec)
                except BaseException:
                    del self._wanted[spec.key]
                    raise
                return
            position = 0
            while position < len(wanted) and wanted[position].strength < spec.strength:
                position += 1
            if position == 0 and wanted[0] != spec:
                self._backend.add_policy(spec)
            self._wanted[spec.key] = (*wanted[:position], spec, *wanted[position:])

    def delete(self, spec: PolicySpec) -> None:
        """Drop one user of ``spec``; with the last one it leaves the kernel.

        Raises:
            SaNotFound: nobody installed this policy.
            KernelError: the table has forgotten the policy, though the backend failed.
        """
        with self._lock:
            wanted = self._wanted.get(spec.key, ())
            if spec not in wanted:
                raise SaNotFound(f"delete policy {spec}", "this policy was never installed")
            position = wanted.index(spec)
            rest = wanted[:position] + wanted[position + 1 :]
            if not rest:
                del self._wanted[spec.key]
                self._backend.delete_policy(spec)
                return
            self._wanted[spec.key] = rest
            if rest[0] != wanted[0]:
                self._backend.add_policy(rest[0])

    def clear(self) -> None:
        """Forget everything, after the backend was flushed."""
        with self._lock:
            self._wanted.clear()

    def __len__(self) -> int:
        return len(self._wanted)
