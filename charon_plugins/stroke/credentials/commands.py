"""Commands that read credentials again, and those about ca sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.wire.bodies import AddCa, Reread
from charon_plugins.stroke.wire.types import MessageType, RereadFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_plugins.stroke.credentials.store import CredentialStore
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.wire.message import Message


class CredentialCommands:
    """The commands around the credential store."""

    def __init__(self, store: CredentialStore, report: Callable[[str], None]) -> None:
        self._store = store
        self._report = report

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.REREAD: Command(self._reread, waits=True),
            MessageType.ADD_CA: Command(self._add_ca),
            MessageType.DEL_CA: Command(self._delete_ca),
        }

    def _reread(self, message: Message, channel: Channel) -> None:
        if not isinstance(message.body, Reread):
            return
        flags = message.body.flags
        if flags & RereadFlag.SECRETS:
            self._store.load_secrets(channel if message.wants_output else None)
        if flags & RereadFlag.CACERTS:
            self._report("rereading CA certificates")
            self._store.load_authorities()
        if flags & RereadFlag.CRLS:
            self._report("rereading CRLs")
            self._store.load_revocation_lists()
        others = flags & (RereadFlag.OCSPCERTS | RereadFlag.AACERTS | RereadFlag.ACERTS)
        if others and flags & RereadFlag.ALL != RereadFlag.ALL:
            self._report("reread: OCSP, AA and attribute certificates are not used")

    def _add_ca(self, message: Message, _: Channel) -> None:
        if isinstance(message.body, AddCa):
            name = name_of(message)
            self._report(f"received stroke: add ca '{name}'")
            self._store.add_section(name, message.body.cacert)

    def _delete_ca(self, message: Message, _: Channel) -> None:
        name = name_of(message)
        self._report(f"received stroke: delete ca '{name}'")
        if not self._store.remove_section(name):
            self._report(f"there is no ca section '{name}' to delete")
