"""Builds the configuration of the CHILD_SA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.config.child import ChildConfig
from charon_core.encoding.registry import ProtocolId
from charon_plugins.stroke.connections import choices
from charon_plugins.stroke.connections.addresses import selectors
from charon_plugins.stroke.connections.lifetimes import child_limits
from charon_plugins.stroke.connections.problems import SettingError

if TYPE_CHECKING:
    from charon_core.config.proposal import Proposal
    from charon_plugins.stroke.connections.builder import Surroundings
    from charon_plugins.stroke.connections.ends import Side
    from charon_plugins.stroke.connections.problems import Problems
    from charon_plugins.stroke.wire.bodies import AddConn


class ChildBuilder:
    """Builds the child of one connection."""

    def __init__(
        self,
        connection: AddConn,
        local: Side,
        remote: Side,
        problems: Problems,
        surroundings: Surroundings,
    ) -> None:
        self._connection = connection
        self._surroundings = surroundings
        self._local = local
        self._remote = remote
        self._problems = problems

    def build(self) -> ChildConfig:
        """Build it.

        Raises:
            IncompleteError: the complaints have been gathered.
            SettingError: the values do not go together.
        """
        conn, end = self._connection, self._local.end
        parts = self._problems.gather(
            {
                "proposals": self._proposals,
                "local_ts": lambda: selectors(self._local),
                "remote_ts": lambda: selectors(self._remote),
                "mode": lambda: choices.mode(conn.mode),
                "dpd_action": lambda: choices.action("dpdaction", conn.dpd.action),
                "close_action": lambda: choices.action("closeaction", conn.close_action),
                "inactivity": self._inactivity,
                "limits": lambda: child_limits(conn.rekey, self._problems),
            }
        )
        time, octets, packets = parts.pop("limits")
        name = conn.name or ""
        try:
            return ChildConfig(
                name=name,
                proxy_mode=bool(conn.proxy_mode),
                rekey_time=float(time.rekey),
                life_time=float(time.life),
                jitter_time=float(time.jitter),
                rekey_bytes=octets.rekey,
                life_bytes=octets.life,
                jitter_bytes=octets.jitter,
                rekey_packets=packets.rekey,
                life_packets=packets.life,
                jitter_packets=packets.jitter,
                reqid=conn.reqid,
                mark_in=choices.mark(conn.mark_in),
                mark_out=choices.mark(conn.mark_out),
                tfc=choices.tfc(conn.tfc),
                replay_window=choices.replay_window(conn.replay_window),
                ipcomp=bool(conn.ipcomp),
                updown=end.updown or None,
                hostaccess=bool(end.hostaccess),
                install_policy=bool(conn.install_policy),
                sha256_96=bool(conn.sha256_96),
                **parts,
            )
        except ValueError as error:
            raise SettingError("conn", name, str(error)) from None

    def _proposals(self) -> tuple[Proposal, ...]:
        algorithms = self._connection.algorithms
        if algorithms.ah is not None:
            return choices.proposals("ah", algorithms.ah, ProtocolId.AH)
        return self._installable(
            algorithms.esp, choices.proposals("esp", algorithms.esp, ProtocolId.ESP)
        )

    def _installable(
        self, text: str | None, proposals: tuple[Proposal, ...]
    ) -> tuple[Proposal, ...]:
        """Leave out what would be negotiated and could not be installed then."""
        found = self._surroundings.installable(proposals)
        if found == proposals:
            return proposals
        missing = self._surroundings.missing(proposals)
        if not found:
            raise SettingError("esp", text, f"expected algorithms that can be installed: {missing}")
        self._problems.note(f"esp = {text!r}: taken without what cannot be installed: {missing}")
        return found

    def _inactivity(self) -> float:
        seconds = self._connection.inactivity
        if seconds < 0:
            raise SettingError("inactivity", seconds, "expected 0 or more seconds")
        return float(seconds)
