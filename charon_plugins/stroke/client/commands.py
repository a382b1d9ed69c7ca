"""The commands of `charon-stroke`: which message each one sends."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.wire import bodies
from charon_plugins.stroke.wire.bodies import AddConn, Dpd, End, Name
from charon_plugins.stroke.wire.message import Message
from charon_plugins.stroke.wire.types import (
    ALL_PORTS,
    SILENT,
    ExportFlag,
    ListFlag,
    MessageType,
    PurgeFlag,
    RereadFlag,
    WireAction,
    WireMode,
    WireSendCert,
    WireVersion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: ``output_verbosity`` of commands whose output a person reads.
VERBOSITY: Final = 1

_LEVELS = range(-1, 5)


class CommandError(Exception):
    """The command line is not one of this program; the text says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        arguments: their names, optional ones in brackets; further ones are ignored.
        build: makes the message of the arguments (``None`` for those left out) and ``--utc``.
        help: what it does, for the usage text.
    """

    arguments: tuple[str, ...]
    build: Callable[[Sequence[str | None], bool], Message]
    help: str

    def message(self, name: str, arguments: Sequence[str], *, utc: bool = False) -> Message:
        """Message for a command line.

        Raises:
            CommandError: an argument is missing or wrong.
        """
        missing = [
            argument
            for argument in self.arguments[len(arguments) :]
            if not argument.startswith("[")
        ]
        if missing:
            raise CommandError(f"{name!r} needs more arguments: {' '.join(missing)}")
        padded = [*arguments, *[None] * (len(self.arguments) - len(arguments))]
        return self.build(padded[: len(self.arguments)], utc)


def find(name: str) -> Command:
    """Command of that name.

    Raises:
        CommandError: there is none.
    """
    try:
        return COMMANDS[name]
    except KeyError:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise CommandError(f"unknown command {name!r}{hint}") from None


def _named(kind: MessageType, text: str, argument: str = "NAME", verbosity: int = 1) -> Command:
    def build(arguments: Sequence[str | None], _utc: bool) -> Message:
        return Message(kind, Name(arguments[0]), verbosity)

    return Command((argument,), build, text)


def _listing(flags: ListFlag, text: str) -> Command:
    def build(_: Sequence[str | None], utc: bool) -> Message:
        return Message(MessageType.LIST, bodies.List(int(flags), int(utc)), VERBOSITY)

    return Command((), build, text)


def _reread(flags: RereadFlag, text: str) -> Command:
    message = Message(MessageType.REREAD, bodies.Reread(int(flags)), VERBOSITY)
    return Command((), lambda *_: message, text)


def _purge(flags: PurgeFlag, text: str) -> Command:
    message = Message(MessageType.PURGE, bodies.Purge(int(flags)), VERBOSITY)
    return Command((), lambda *_: message, text)


def _export(flag: ExportFlag, argument: str, text: str) -> Command:
    def build(arguments: Sequence[str | None], _utc: bool) -> Message:
        return Message(MessageType.EXPORT, bodies.Export(int(flag), arguments[0]), VERBOSITY)

    return Command((argument,), build, text)


def _counters(*, reset: bool, text: str) -> Command:
    def build(arguments: Sequence[str | None], _utc: bool) -> Message:
        return Message(MessageType.COUNTERS, bodies.Counters(int(reset), arguments[0]), VERBOSITY)

    return Command(("[NAME]",), build, text)


def _add(arguments: Sequence[str | None], _utc: bool) -> Message:
    name, my_id, other_id, my_address, other_address, my_net, other_net = arguments
    body = AddConn(
        name=name,
        version=WireVersion.IKEV2,
        mode=WireMode.TRANSPORT,
        mobike=1,
        install_policy=1,
        dpd=Dpd(action=WireAction.CLEAR),
        me=_end(my_id, my_address, my_net),
        other=_end(other_id, other_address, other_net),
    )
    return Message(MessageType.ADD_CONN, body, VERBOSITY)


def _end(identity: str | None, address: str | None, subnets: str | None) -> End:
    return End(
        id=identity,
        address=address,
        subnets=subnets,
        ikeport=500,
        sendcert=WireSendCert.IF_ASKED,
        to_port=ALL_PORTS[1],
    )


def _down_srcip(arguments: Sequence[str | None], _utc: bool) -> Message:
    body = bodies.TerminateSrcip(arguments[0], arguments[1])
    return Message(MessageType.TERMINATE_SRCIP, body, VERBOSITY)


def _loglevel(arguments: Sequence[str | None], _utc: bool) -> Message:
    group, level = arguments
    try:
        number = int(level or "")
    except ValueError:
        number = _LEVELS.stop
    if number not in _LEVELS:
        raise CommandError(
            f"expected a level from {_LEVELS[0]} to {_LEVELS[-1]}, not {level!r} "
            "(write -- before a negative one: -- loglevel any -1)"
        )
    return Message(MessageType.LOGLEVEL, bodies.Loglevel(group, number), VERBOSITY)


def _leases(arguments: Sequence[str | None], _utc: bool) -> Message:
    return Message(MessageType.LEASES, bodies.Leases(arguments[0], arguments[1]), VERBOSITY)


def _user_creds(arguments: Sequence[str | None], _utc: bool) -> Message:
    name, username, password = arguments
    return Message(MessageType.USER_CREDS, bodies.UserCreds(name, username, password), VERBOSITY)


_STATUS_ALL = "show daemon, connections and SAs in detail"
_STATUS_ALL_NOBLK = "the same, without waiting for busy SAs"

COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "add": Command(
            ("NAME", "MY_ID", "OTHER_ID", "MY_ADDR", "OTHER_ADDR", "MY_NET", "OTHER_NET"),
            _add,
            "add a connection",
        ),
        "delete": _named(MessageType.DEL_CONN, "delete a connection"),
        "del": _named(MessageType.DEL_CONN, "the same as delete"),
        "up": _named(MessageType.INITIATE, "initiate a connection, show its log"),
        "up-nb": _named(
            MessageType.INITIATE, "initiate a connection, do not wait", verbosity=SILENT
        ),
        "down": _named(
            MessageType.TERMINATE,
            "terminate SAs: NAME, NAME[*], [ID], NAME{}, NAME{*} or {ID}",
            "NAME|ID",
        ),
        "down-nb": _named(
            MessageType.TERMINATE, "terminate SAs, do not wait", "NAME|ID", verbosity=SILENT
        ),
        "down-srcip": Command(
            ("START", "[END]"), _down_srcip, "terminate the IKE_SAs with these virtual addresses"
        ),
        "rekey": _named(MessageType.REKEY, "rekey SAs, named as for down", "NAME|ID"),
        "route": _named(MessageType.ROUTE, "install a connection's trap or shunt policies"),
        "unroute": _named(MessageType.UNROUTE, "remove a connection's trap or shunt policies"),
        "status": _named(MessageType.STATUS, "show the SAs", "[NAME]"),
        "statusall": _named(MessageType.STATUS_ALL, _STATUS_ALL, "[NAME]"),
        "statusall-nb": _named(MessageType.STATUS_ALL_NOBLK, _STATUS_ALL_NOBLK, "[NAME]"),
        "statusallnb": _named(MessageType.STATUS_ALL_NOBLK, "the same as statusall-nb", "[NAME]"),
        "loglevel": Command(("GROUP", "LEVEL"), _loglevel, "set the log level of a group or any"),
        "listpubkeys": _listing(ListFlag.PUBKEYS, "list raw public keys"),
        "listcerts": _listing(ListFlag.CERTS, "list end entity certificates"),
        "listcacerts": _listing(ListFlag.CACERTS, "list CA certificates"),
        "listocspcerts": _listing(ListFlag.OCSPCERTS, "list OCSP signer certificates"),
        "listaacerts": _listing(ListFlag.AACERTS, "list attribute authority certificates"),
        "listacerts": _listing(ListFlag.ACERTS, "list attribute certificates"),
        "listcainfos": _listing(ListFlag.CAINFOS, "list ca sections"),
        "listcrls": _listing(ListFlag.CRLS, "list revocation lists"),
        "listocsp": _listing(ListFlag.OCSP, "list cached OCSP responses"),
        "listalgs": _listing(ListFlag.ALGS, "list algorithms"),
        "listplugins": _listing(ListFlag.PLUGINS, "list plugins"),
        "listall": _listing(ListFlag.ALL, "list all of these"),
        "rereadsecrets": _reread(RereadFlag.SECRETS, "read ipsec.secrets again"),
        "rereadcacerts": _reread(RereadFlag.CACERTS, "read the CA certificates again"),
        "rereadocspcerts": _reread(RereadFlag.OCSPCERTS, "read the OCSP certificates again"),
        "rereadaacerts": _reread(RereadFlag.AACERTS, "read the attribute authorities again"),
        "rereadacerts": _reread(RereadFlag.ACERTS, "read the attribute certificates again"),
        "rereadcrls": _reread(RereadFlag.CRLS, "read the revocation lists again"),
        "rereadall": _reread(RereadFlag.ALL, "read all of these again"),
        "purgeocsp": _purge(PurgeFlag.OCSP, "forget cached OCSP responses"),
        "purgecrls": _purge(PurgeFlag.CRLS, "forget cached revocation lists"),
        "purgecerts": _purge(PurgeFlag.CERTS, "forget cached certificates"),
        "purgeike": _purge(PurgeFlag.IKE, "terminate IKE_SAs without CHILD_SA"),
        "exportx509": _export(ExportFlag.X509, "ID", "print the certificates of an identity"),
        "exportconncert": _export(
            ExportFlag.CONN_CERT, "NAME", "print the certificate of a connection's peer"
        ),
        "exportconnchain": _export(
            ExportFlag.CONN_CHAIN, "NAME", "print the chain of a connection's peer"
        ),
        "leases": Command(("[POOL]", "[ADDRESS]"), _leases, "show leases of virtual addresses"),
        "memusage": Command(
            (), lambda *_: Message(MessageType.MEMUSAGE, bodies.MemUsage()), "show memory usage"
        ),
        "user-creds": Command(
            ("NAME", "USERNAME", "[PASSWORD]"),
            _user_creds,
            "set user name and password of a connection",
        ),
        "listcounters": _counters(reset=False, text="show counters of a connection, or of all"),
        "resetcounters": _counters(reset=True, text="reset counters"),
    }
)

#: Known to old scripts; prints the usage text, as it always did.
WITHOUT_EFFECT: Final = frozenset({"listgroups"})
