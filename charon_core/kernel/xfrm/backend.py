"""The XFRM backend: Linux moves the IPsec traffic.

pyroute2 (through the modules ``states`` and ``policies``) is imported when the first SA or policy
comes, or one second after the start: the control socket must not wait for it.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from charon_core.kernel.esp_algorithms import EspAlgorithms
from charon_core.kernel.interface import (
    KernelError,
    KernelFeature,
    KernelUnavailable,
    SaExists,
    SaNotFound,
)
from charon_core.kernel.netlink import NETLINK_XFRM, NetlinkError, NetlinkSocket
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.algorithms import CIPHERS, INTEGRITIES
from charon_core.kernel.xfrm.errors import kernel_error
from charon_core.kernel.xfrm.events import XfrmEvents
from charon_core.kernel.xfrm.probe import probe_xfrm
from charon_core.kernel.xfrm.sockets import bypass_policies, take_esp_in_udp

if TYPE_CHECKING:
    from charon_core.config.child import Mark
    from charon_core.kernel.interface import (
        BackendContext,
        Encapsulation,
        IpsecProtocol,
        KernelEvents,
        PolicyKey,
        PolicySpec,
        RunningLoop,
        SaId,
        SaSpec,
        SaUsage,
    )
    from charon_core.kernel.netlink import Frame

_LEVEL_CONTROL: Final = 1
_IMPORT_DELAY: Final = 1.0
_STOP_SECONDS: Final = 2.0
_ACQUIRE_TIMEOUT_FILE: Final = Path("/proc/sys/net/core/xfrm_acq_expires")

_SaKey = tuple[int, str, "IpsecProtocol"]


class _Installed(NamedTuple):
    """What is needed to find an SA again."""

    source: str
    mark: Mark | None
    if_id: int
    is_reserved: bool


_UNKNOWN: Final = _Installed("", None, 0, is_reserved=False)


class XfrmBackend:
    """IPsec by the Linux kernel, controlled through netlink."""

    name = "xfrm"
    features = frozenset(KernelFeature) - {
        KernelFeature.UDP_ENCAPSULATION_ONLY,
        KernelFeature.OWN_ROUTES,
    }
    algorithms = EspAlgorithms(frozenset(CIPHERS), frozenset(INTEGRITIES))

    def __init__(self, context: BackendContext) -> None:
        """Remember the context; nothing is opened yet.

        The backend's options (``[kernel.xfrm]``): ``acquire_timeout``, seconds that the kernel
        waits for the SA of a trap policy and keeps a reserved SPI.
        """
        self._context = context
        self._netlink: NetlinkSocket | None = None
        self._watcher: XfrmEvents | None = None
        self._loop: RunningLoop | None = None
        # Guards the two tables below; never held while the kernel is asked.
        self._lock = threading.Lock()
        self._sas: dict[_SaKey, _Installed] = {}
        self._policies: dict[PolicyKey, PolicySpec] = {}

    # -- life ---------------------------------------------------------------------------------

    def probe(self) -> None:
        """Install and remove an ESP SA.

        Raises:
            KernelUnavailable: with the reason and what would help.
        """
        missing = probe_xfrm(self._context.random)
        if missing:
            self._context.log(_LEVEL_CONTROL, "the kernel lacks %s for ESP", ", ".join(missing))

    def start(self, events: KernelEvents) -> None:
        """Open the sockets and begin the loop that reads events.

        Raises:
            KernelUnavailable: a socket cannot be opened.
        """
        try:
            self._netlink = NetlinkSocket(NETLINK_XFRM)
            watcher = XfrmEvents(events, self._context.log, self._is_ours)
        except OSError as error:
            self.stop()
            raise KernelUnavailable(f"no XFRM netlink socket: {error.strerror}") from None
        self._watcher = watcher
        self._set_acquire_timeout()
        self._loop = self._context.run_loop("XFRM events", watcher.run, watcher.wake)
        self._context.after(_IMPORT_DELAY, _load_messages)

    def stop(self) -> None:
        """End the loop and close the sockets."""
        ended = self._loop is None or self._loop.stop(_STOP_SECONDS)
        if self._watcher is not None and ended:
            self._watcher.close()
        if self._netlink is not None:
            self._netlink.close()
        self._loop = self._watcher = self._netlink = None

    def flush(self) -> None:
        """Remove the SAs and policies of this object, and leave those of others alone.

        Raises:
            KernelError: the first failure; the rest was removed nevertheless.
        """
        from charon_core.kernel.interface import SaId

        with self._lock:
            policies = list(self._policies.values())
            sas = [
                SaId(installed.source, destination, protocol, spi)
                for (spi, destination, protocol), installed in self._sas.items()
            ]
        failures: list[KernelError] = []
        steps: list[tuple[Any, Any]] = [(self.delete_policy, policy) for policy in policies]
        steps += [(self.delete_sa, sa) for sa in sas]
        for delete, what in steps:
            try:
                delete(what)
            except SaNotFound:  # it has expired, or somebody else removed it
                continue
            except KernelError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    # -- SAs ----------------------------------------------------------------------------------

    def allocate_spi(self, source: str, destination: str, protocol: IpsecProtocol) -> int:
        """Let the kernel reserve an SPI."""
        from charon_core.kernel.xfrm import states

        body = states.encode_spi_request(source, destination, protocol, self._context.spi_range)
        frame = self._query(
            "allocate SPI for",
            f"{source} -> {destination}",
            constants.XFRM_MSG_ALLOCSPI,
            body,
        )
        spi = states.decode_spi(frame)
        with self._lock:
            self._sas[spi, destination, protocol] = _Installed(source, None, 0, is_reserved=True)
        return spi

    def add_sa(self, spec: SaSpec) -> None:
        """Install an SA; an inbound one takes the place of its reservation."""
        from charon_core.kernel.xfrm import states

        key = (spec.id.spi, spec.id.destination, spec.id.protocol)
        with self._lock:
            known = self._sas.get(key)
        if known is not None and not known.is_reserved:
            raise SaExists(f"add SA {spec.id}", "File exists", "this SA is installed already")
        body = states.encode_sa(spec)
        if known is not None:
            try:
                self._request("add SA", spec.id, constants.XFRM_MSG_UPDSA, body)
            except SaNotFound:  # the reservation has expired
                self._request("add SA", spec.id, constants.XFRM_MSG_NEWSA, body)
        else:
            self._request("add SA", spec.id, constants.XFRM_MSG_NEWSA, body)
        with self._lock:
            self._sas[key] = _Installed(spec.id.source, spec.mark, spec.if_id, is_reserved=False)

    def update_sa(
        self, sa: SaId, source: str, destination: str, encapsulation: Encapsulation | None
    ) -> None:
        """Move an SA: XFRM has no other way than to read it, delete it, and add it anew."""
        from charon_core.kernel.xfrm import states

        subject = f"{sa} to {source} -> {destination}"
        installed = self._installed(sa)
        identity = states.encode_id(sa, installed.mark, installed.if_id)
        frame = self._query("move SA", subject, constants.XFRM_MSG_GETSA, identity)
        before, after = states.move_sa(frame, sa, source, destination, encapsulation)
        self._request("move SA", subject, constants.XFRM_MSG_DELSA, identity)
        try:
            self._request("move SA", subject, constants.XFRM_MSG_NEWSA, after)
        except KernelError:
            self._request("put back SA", sa, constants.XFRM_MSG_NEWSA, before)
            raise
        with self._lock:
            self._sas.pop((sa.spi, sa.destination, sa.protocol), None)
            self._sas[sa.spi, destination, sa.protocol] = installed._replace(source=source)

    def query_sa(self, sa: SaId) -> SaUsage:
        """Ask the kernel for the counters."""
        from charon_core.kernel.xfrm import states

        installed = self._installed(sa)
        identity = states.encode_id(sa, installed.mark, installed.if_id)
        return states.decode_usage(self._query("query SA", sa, constants.XFRM_MSG_GETSA, identity))

    def delete_sa(self, sa: SaId) -> None:
        """Remove an SA or a reservation."""
        from charon_core.kernel.xfrm import states

        installed = self._installed(sa)
        identity = states.encode_id(sa, installed.mark, installed.if_id)
        with self._lock:
            self._sas.pop((sa.spi, sa.destination, sa.protocol), None)
        self._request("delete SA", sa, constants.XFRM_MSG_DELSA, identity)

    def _installed(self, sa: SaId) -> _Installed:
        with self._lock:
            return self._sas.get((sa.spi, sa.destination, sa.protocol), _UNKNOWN)

    def _is_ours(self, spi: int, destination: str, protocol: IpsecProtocol) -> bool:
        with self._lock:
            known = self._sas.get((spi, destination, protocol))
        return known is not None and not known.is_reserved

    # -- policies -----------------------------------------------------------------------------

    def add_policy(self, spec: PolicySpec) -> None:
        """Install or replace a policy; a failure leaves what was there before."""
        from charon_core.kernel.xfrm import policies

        with self._lock:
            before = self._policies.get(spec.key)
        done = 0
        try:
            for body in policies.encode_policies(spec):
                self._request("add policy", spec, constants.XFRM_MSG_UPDPOLICY, body)
                done += 1
        except KernelError:
            self._undo_policy(spec, before, done)
            raise
        with self._lock:
            self._policies[spec.key] = spec

    def _undo_policy(self, spec: PolicySpec, before: PolicySpec | None, done: int) -> None:
        """Take back the first ``done`` parts of ``spec``, or put back what they replaced."""
        from charon_core.kernel.xfrm import policies

        if before is None:
            for identity in policies.encode_ids(spec)[:done] if done else ():
                self._request("take back policy", spec, constants.XFRM_MSG_DELPOLICY, identity)
        elif done:
            for body in policies.encode_policies(before):
                self._request("put back policy", before, constants.XFRM_MSG_UPDPOLICY, body)

    def delete_policy(self, spec: PolicySpec) -> None:
        """Remove a policy, all parts of it."""
        from charon_core.kernel.xfrm import policies

        with self._lock:
            self._policies.pop(spec.key, None)
        failure: KernelError | None = None
        for identity in policies.encode_ids(spec):
            try:
                self._request("delete policy", spec, constants.XFRM_MSG_DELPOLICY, identity)
            except KernelError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def query_policy(self, spec: PolicySpec) -> float | None:
        """Ask the kernel for the time of last use, the latest of all parts."""
        from charon_core.kernel.xfrm import policies

        used = [
            policies.decode_last_use(
                self._query("query policy", spec, constants.XFRM_MSG_GETPOLICY, identity)
            )
            for identity in policies.encode_ids(spec)
        ]
        return max((time for time in used if time is not None), default=None)

    # -- sockets ------------------------------------------------------------------------------

    def bypass_socket(self, fd: int, family: int) -> None:
        """Exempt a socket from all policies."""
        bypass_policies(fd, family)

    def enable_udp_encapsulation(self, fd: int, family: int) -> None:
        """Let the kernel take ESP in UDP from a socket.

        Kernels before 5.8 cannot do this over IPv6, where NATs are rare: that is only logged.
        """
        try:
            take_esp_in_udp(fd, family)
        except KernelError as error:
            if family != socket.AF_INET6:
                raise
            self._context.log(_LEVEL_CONTROL, "%s", error)

    # -- netlink ------------------------------------------------------------------------------

    def _request(self, verb: str, subject: object, kind: int, body: bytes) -> None:
        # The subject becomes text only if it has to be told to somebody.
        try:
            self._socket(verb, subject).request(kind, body)
        except (NetlinkError, TimeoutError) as error:
            raise kernel_error(f"{verb} {subject}", error) from None

    def _query(self, verb: str, subject: object, kind: int, body: bytes) -> Frame:
        try:
            return self._socket(verb, subject).query(kind, body)
        except (NetlinkError, TimeoutError) as error:
            raise kernel_error(f"{verb} {subject}", error) from None

    def _socket(self, verb: str, subject: object) -> NetlinkSocket:
        if self._netlink is None:
            raise KernelError(f"{verb} {subject}", "the XFRM backend is not running")
        return self._netlink

    def _set_acquire_timeout(self) -> None:
        seconds = self._context.options.get("acquire_timeout")
        if seconds is None:
            return
        try:
            _ACQUIRE_TIMEOUT_FILE.write_text(f"{int(seconds)}\n", encoding="ascii")
        except OSError as error:
            self._context.log(
                _LEVEL_CONTROL,
                "%s cannot be set to %s: %s; reserved SPIs live as long as the kernel says",
                _ACQUIRE_TIMEOUT_FILE,
                seconds,
                error.strerror,
            )


def _load_messages() -> None:
    """Import what the first SA needs, before it comes."""
    import charon_core.kernel.xfrm.policies  # noqa: F401
