"""Commands that read credentials again, those about ca sections and about what is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.credentials.sets import AuthorityUris
from charon_plugins.stroke.credentials.store import Section
from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.wire.bodies import AddCa, Config, Reread
from charon_plugins.stroke.wire.types import MessageType, PurgeFlag, RereadFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from charon_core.credentials.manager import CredentialManager
    from charon_plugins.stroke.credentials.store import CredentialStore
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.wire.message import Message


class CredentialCommands:
    """The commands around the credential store."""

    def __init__(
        self,
        store: CredentialStore,
        credentials: CredentialManager,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._report = report

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.REREAD: Command(self._reread, waits=True),
            MessageType.ADD_CA: Command(self._add_ca),
            MessageType.DEL_CA: Command(self._delete_ca),
            MessageType.CONFIG: Command(self._configure),
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
            self._store.add_section(_section(name, message.body))

    def _delete_ca(self, message: Message, _: Channel) -> None:
        name = name_of(message)
        self._report(f"received stroke: delete ca '{name}'")
        if not self._store.remove_section(name):
            self._report(f"there is no ca section '{name}' to delete")

    def _configure(self, message: Message, _: Channel) -> None:
        if isinstance(message.body, Config):
            on = bool(message.body.cachecrl)
            self._report(f"received stroke: {'' if on else 'do not '}cache CRLs that are fetched")
            self._credentials.cache_lists(on)

    def purge(self, flags: int) -> None:
        """Forget what is cached, as a PURGE message wants it (`PurgeFlag`)."""
        if flags & PurgeFlag.CERTS:
            self._credentials.flush()
        online = self._credentials.online_in_use
        if online is not None and flags & (PurgeFlag.OCSP | PurgeFlag.CRLS):
            online.flush(statuses=bool(flags & PurgeFlag.OCSP), lists=bool(flags & PurgeFlag.CRLS))


def _section(name: str, body: AddCa) -> Section:
    def given(*uris: str | None) -> tuple[str, ...]:
        return tuple(uri for uri in uris if uri)

    uris = AuthorityUris(
        given(body.crluri, body.crluri2),
        given(body.ocspuri, body.ocspuri2),
        body.certuribase or "",
    )
    return Section(name, body.cacert or "", uris)
