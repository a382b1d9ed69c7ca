"""Builds the configuration of a connection out of an ADD_CONN message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charon_core.config.ike import IkeConfig
from charon_core.config.peer import PeerConfig
from charon_core.encoding.registry import ProtocolId
from charon_plugins.stroke.connections import addresses, choices, lifetimes
from charon_plugins.stroke.connections.authentication import AuthBuilder
from charon_plugins.stroke.connections.child import ChildBuilder
from charon_plugins.stroke.connections.ends import Side, check_lists, resolve_same, sides
from charon_plugins.stroke.connections.problems import (
    IncompleteError,
    InvalidConnectionError,
    Problems,
    SettingError,
)
from charon_plugins.stroke.wire.types import WireAction, WireSendCert, WireVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from charon_core.attributes.memory import MemoryPools
    from charon_core.config.proposal import Proposal
    from charon_core.credentials.certificates import Certificate
    from charon_plugins.stroke.wire.bodies import AddConn

_IKE_PORT = 500


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the builder has to know and do besides reading the message.

    Attributes:
        certs: folder of the certificates that connections name.
        is_local: whether an address is ours.
        look_up: addresses of a host name; may block.
        pools: takes the pools of virtual addresses that connections name.
        allow_swap: exchange the ends if the right one is ours.
        installable: what of the proposals of a CHILD_SA can be installed here.
        missing: which of their algorithms cannot, in words.
    """

    certs: Path
    is_local: Callable[[str], bool]
    look_up: Callable[[str], Iterable[str]]
    pools: MemoryPools
    allow_swap: bool = True
    installable: Callable[[tuple[Proposal, ...]], tuple[Proposal, ...]] = lambda given: given
    missing: Callable[[tuple[Proposal, ...]], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class Built:
    """A connection with what belongs to it.

    Attributes:
        peer: its configuration, with one child of the same name.
        certificates: those that it names, intermediates among them.
        notes: what was odd but no reason to refuse it.
    """

    peer: PeerConfig
    certificates: tuple[Certificate, ...]
    notes: tuple[str, ...]


def build(connection: AddConn, surroundings: Surroundings) -> Built:
    """Build the configuration of a connection.

    Raises:
        InvalidConnectionError: with everything that is wrong.
    """
    problems = Problems()
    try:
        problems.gather(
            {
                "supported": lambda: _check_supported(connection),
                "lists": lambda: check_lists(connection),
            }
        )
        return _Builder(connection, surroundings, problems).build()
    except IncompleteError:
        raise InvalidConnectionError(tuple(problems.complaints)) from None


def check_name(name: str | None) -> str:
    """Name of a connection, which appears in logs and replies.

    Raises:
        SettingError: it is missing, or has characters that cannot be shown.
    """
    if not name or not name.isprintable():
        raise SettingError("conn", name or "", "expected a name of printable characters")
    return name


def _check_supported(connection: AddConn) -> None:
    check_name(connection.name)
    if connection.version not in (WireVersion.ANY, WireVersion.IKEV2):
        word = "ikev1" if connection.version == WireVersion.IKEV1 else connection.version
        raise SettingError("keyexchange", word, "expected ikev2: IKEv1 is not supported")
    if connection.ikeme.mediation or connection.ikeme.mediated_by:
        raise SettingError("mediation", "yes", "the mediation extension is not supported")


class _Builder:
    """Builds one connection; every part complains for itself."""

    def __init__(self, connection: AddConn, surroundings: Surroundings, problems: Problems) -> None:
        self._connection = connection
        self._surroundings = surroundings
        self._problems = problems
        self._certificates: list[Certificate] = []
        self._local, self._remote = self._sides()

    def build(self) -> Built:
        conn, local, remote = self._connection, self._local, self._remote
        auth = AuthBuilder(conn, self._surroundings.certs, self._problems, self._certificates)
        child = ChildBuilder(conn, local, remote, self._problems, self._surroundings)
        parts = self._problems.gather(
            {
                "ike": self._ike,
                "child": child.build,
                "local": lambda: auth.build(local, is_local=True),
                "remote": lambda: auth.build(remote, is_local=False),
                "limit": lambda: lifetimes.ike_limit(conn.rekey, self._problems),
                "unique": lambda: choices.unique(conn.unique),
                "send_cert": lambda: choices.send_cert(local),
                "dpd_delay": self._dpd_delay,
                "virtual_ips": lambda: addresses.virtual_ips(local, remote),
                "request_dns": lambda: addresses.request_dns(local),
                "dns": lambda: addresses.hand_out_dns(remote),
            }
        )
        limit: lifetimes.Limit = parts.pop("limit")
        parts["children"] = (parts.pop("child"),)
        # Last, since it leaves something behind: the pools.
        parts |= self._problems.gather({"pools": self._pools})
        built = self._problems.gather({"peer": lambda: self._peer(parts, limit)})
        return Built(built["peer"], tuple(self._certificates), tuple(self._problems.notes))

    @property
    def _name(self) -> str:
        return self._connection.name or ""

    def _peer(self, parts: dict[str, Any], limit: lifetimes.Limit) -> PeerConfig:
        rekey = self._connection.rekey
        try:
            return PeerConfig(
                name=self._name,
                keyingtries=rekey.tries,
                mobike=bool(self._connection.mobike),
                rekey_time=0.0 if rekey.reauth else float(limit.rekey),
                reauth_time=float(limit.rekey) if rekey.reauth else 0.0,
                jitter_time=float(limit.jitter),
                over_time=float(limit.life - limit.rekey),
                **parts,
            )
        except ValueError as error:
            raise SettingError("conn", self._name, str(error)) from None

    def _sides(self) -> tuple[Side, Side]:
        where = self._surroundings
        local, remote, remark = sides(
            self._connection, where.is_local, where.look_up, allow_swap=where.allow_swap
        )
        if remark is not None:
            self._problems.note(remark)
        found = self._problems.gather({"sides": lambda: resolve_same(local, remote)})
        local, remote = found["sides"]
        return local, remote

    def _ike(self) -> IkeConfig:
        conn, local, remote = self._connection, self._local, self._remote
        parts = self._problems.gather(
            {
                "proposals": lambda: choices.proposals("ike", conn.algorithms.ike, ProtocolId.IKE),
                "fragmentation": lambda: choices.fragmentation(conn.fragmentation),
                "local": lambda: choices.addresses(local),
                "remote": lambda: choices.addresses(remote),
            }
        )
        try:
            return IkeConfig(
                name=self._name,
                version=conn.version,
                local_port=local.end.ikeport or _IKE_PORT,
                remote_port=remote.end.ikeport or _IKE_PORT,
                send_certreq=remote.end.sendcert != WireSendCert.NEVER,
                force_encap=bool(conn.force_encap),
                dscp=conn.ikedscp,
                **parts,
            )
        except ValueError as error:
            raise SettingError("conn", self._name, str(error)) from None

    def _dpd_delay(self) -> float:
        dpd = self._connection.dpd
        if dpd.delay < 0:
            raise SettingError("dpddelay", dpd.delay, "expected 0 or more seconds")
        return 0.0 if dpd.action == WireAction.NONE else float(dpd.delay)

    def _pools(self) -> tuple[str, ...]:
        return addresses.pools(
            self._remote,
            self._name,
            add_pool=self._add_pool,
            add_grants=self._surroundings.pools.add_grants,
        )

    def _add_pool(self, text: str) -> None:
        """Make a pool; an address that two of them have could be leased to two peers at once."""
        pools = self._surroundings.pools
        others = ", ".join(pools.overlapping(pools.add(text)))
        if others:
            self._problems.note(
                f"pool {text} has addresses in common with {others}: two peers could get the same"
            )
