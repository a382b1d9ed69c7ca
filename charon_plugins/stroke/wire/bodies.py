"""Bodies of the stroke messages: one frozen dataclass each, with the place of every field.

Numbers are as on the wire: flags are zero or non-zero (clients send 2, 16, 64 and 128 for "yes"),
enumerations are those of `types`. ``None`` is a string that is not set, which is not the empty one.
"""

# ruff: noqa: RUF009 -- the calls in the classes declare fields, as dataclasses.field() does

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from charon_plugins.stroke.wire.fields import (
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Layout,
    number,
    part,
    secret_text,
    text,
)
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Name:
    """A connection, CHILD or ca section by name; the name may be missing in STATUS."""

    name: str | None = text(16)


@dataclass(frozen=True, slots=True)
class TerminateSrcip:
    """A remote virtual address, or an inclusive range of them."""

    start: str | None = text(16)
    end: str | None = text(24)


@dataclass(frozen=True, slots=True)
class AddCa:
    """A ca section."""

    name: str | None = text(16)
    cacert: str | None = text(24)
    crluri: str | None = text(32)
    crluri2: str | None = text(40)
    ocspuri: str | None = text(48)
    ocspuri2: str | None = text(56)
    certuribase: str | None = text(64)


@dataclass(frozen=True, slots=True)
class Loglevel:
    """New level of one log group (``any`` for all)."""

    type: str | None = text(16)
    level: int = number(24, I32)


@dataclass(frozen=True, slots=True)
class Config:
    """Switches CRL caching on or off."""

    cachecrl: int = number(16, I32)


@dataclass(frozen=True, slots=True)
class List:
    """Which lists to print (`types.ListFlag`), with dates in UTC or local time."""

    flags: int = number(16, U32)
    utc: int = number(20, I32)


@dataclass(frozen=True, slots=True)
class Reread:
    """Which files to read again (`types.RereadFlag`)."""

    flags: int = number(16, U32)


@dataclass(frozen=True, slots=True)
class Purge:
    """Which caches to flush (`types.PurgeFlag`)."""

    flags: int = number(16, U32)


@dataclass(frozen=True, slots=True)
class Leases:
    """Leases of all pools, of one, or of one address in it."""

    pool: str | None = text(16)
    address: str | None = text(24)


@dataclass(frozen=True, slots=True)
class Export:
    """Certificates to print (`types.ExportFlag`): of an identity, or of a connection's peer."""

    flags: int = number(16, U32)
    selector: str | None = text(24)


@dataclass(frozen=True, slots=True)
class MemUsage:
    """Nothing: MEMUSAGE has no arguments."""


@dataclass(frozen=True, slots=True)
class UserCreds:
    """User name and password for a connection; without a password the daemon asks for it."""

    name: str | None = text(16)
    username: str | None = text(24)
    password: str | None = secret_text(32)


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one connection, of ``all``, or (without name) of the daemon."""

    reset: int = number(16, I32)
    name: str | None = text(24)


@dataclass(frozen=True, slots=True)
class Algorithms:
    """Proposal strings; ``ah`` wins over ``esp``."""

    ike: str | None = text(128)
    esp: str | None = text(136)
    ah: str | None = text(144)


@dataclass(frozen=True, slots=True)
class Rekey:
    """Lifetimes and margins in seconds, octets and packets; ``fuzz`` in per cent."""

    reauth: int = number(152, I32)
    ipsec_lifetime: int = number(160, I64)
    ike_lifetime: int = number(168, I64)
    margin: int = number(176, I64)
    life_bytes: int = number(184, U64)
    margin_bytes: int = number(192, U64)
    life_packets: int = number(200, U64)
    margin_packets: int = number(208, U64)
    tries: int = number(216, U64)
    fuzz: int = number(224, U64)


@dataclass(frozen=True, slots=True)
class Dpd:
    """Dead peer detection; delay and time-out (IKEv1 only) in seconds."""

    delay: int = number(232, I64)
    timeout: int = number(240, I64)
    action: int = number(248, I32)


@dataclass(frozen=True, slots=True)
class Mediation:
    """The mediation extension; carried, never used."""

    mediation: int = number(256, I32)
    mediated_by: str | None = text(264)
    peerid: str | None = text(272)


@dataclass(frozen=True, slots=True)
class MarkIn:
    """Mark of inbound packets."""

    value: int = number(280, U32)
    mask: int = number(284, U32)


@dataclass(frozen=True, slots=True)
class MarkOut:
    """Mark of outbound packets."""

    value: int = number(288, U32)
    mask: int = number(292, U32)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection (``left…`` or ``right…``); ports in host order."""

    auth: str | None = text(0)
    auth2: str | None = text(8)
    id: str | None = text(16)
    id2: str | None = text(24)
    eap_id: str | None = text(32)
    rsakey: str | None = text(40)
    cert: str | None = text(48)
    cert2: str | None = text(56)
    ca: str | None = text(64)
    ca2: str | None = text(72)
    groups: str | None = text(80)
    groups2: str | None = text(88)
    cert_policy: str | None = text(96)
    updown: str | None = text(104)
    address: str | None = text(112)
    ikeport: int = number(120, U16)
    sourceip: str | None = text(128)
    dns: str | None = text(136)
    subnets: str | None = text(144)
    sendcert: int = number(152, I32)
    hostaccess: int = number(156, I32)
    tohost: int = number(160, I32)
    allow_any: int = number(164, I32)
    protocol: int = number(168, U8)
    from_port: int = number(170, U16)
    to_port: int = number(172, U16)


@dataclass(frozen=True, slots=True)
class AddConn:
    """A whole connection: IKE_SA and CHILD_SA configuration in one."""

    name: str | None = text(16)
    version: int = number(24, I32)
    eap_identity: str | None = text(32)
    aaa_identity: str | None = text(40)
    xauth_identity: str | None = text(48)
    mode: int = number(56, I32)
    mobike: int = number(60, I32)
    aggressive: int = number(64, I32)
    pushmode: int = number(68, I32)
    force_encap: int = number(72, I32)
    fragmentation: int = number(76, I32)
    ipcomp: int = number(80, I32)
    inactivity: int = number(88, I64)
    proxy_mode: int = number(96, I32)
    install_policy: int = number(100, I32)
    close_action: int = number(104, I32)
    reqid: int = number(108, U32)
    tfc: int = number(112, U32)
    ikedscp: int = number(116, U8)
    crl_policy: int = number(120, I32)
    unique: int = number(124, I32)
    algorithms: Algorithms = part(0, Algorithms)
    rekey: Rekey = part(0, Rekey)
    dpd: Dpd = part(0, Dpd)
    ikeme: Mediation = part(0, Mediation)
    mark_in: MarkIn = part(0, MarkIn)
    mark_out: MarkOut = part(0, MarkOut)
    me: End = part(296, End)
    other: End = part(472, End)
    replay_window: int = number(648, U32)
    sha256_96: int = number(652, U8)


Body: TypeAlias = (
    Name
    | TerminateSrcip
    | AddCa
    | Loglevel
    | Config
    | List
    | Reread
    | Purge
    | Leases
    | Export
    | MemUsage
    | UserCreds
    | Counters
    | AddConn
)

#: Which body belongs to which message type.
BODIES: Mapping[MessageType, type[Body]] = MappingProxyType(
    {
        MessageType.INITIATE: Name,
        MessageType.ROUTE: Name,
        MessageType.UNROUTE: Name,
        MessageType.ADD_CONN: AddConn,
        MessageType.DEL_CONN: Name,
        MessageType.TERMINATE: Name,
        MessageType.TERMINATE_SRCIP: TerminateSrcip,
        MessageType.REKEY: Name,
        MessageType.STATUS: Name,
        MessageType.STATUS_ALL: Name,
        MessageType.STATUS_ALL_NOBLK: Name,
        MessageType.ADD_CA: AddCa,
        MessageType.DEL_CA: Name,
        MessageType.LOGLEVEL: Loglevel,
        MessageType.CONFIG: Config,
        MessageType.LIST: List,
        MessageType.REREAD: Reread,
        MessageType.PURGE: Purge,
        MessageType.LEASES: Leases,
        MessageType.EXPORT: Export,
        MessageType.MEMUSAGE: MemUsage,
        MessageType.USER_CREDS: UserCreds,
        MessageType.COUNTERS: Counters,
    }
)

#: Where the fields of each body lie.
LAYOUTS: Mapping[type[Body], Layout] = MappingProxyType(
    {cls: Layout.of(cls) for cls in dict.fromkeys(BODIES.values())}
)

_END_ORDER = (
    "auth",
    "auth2",
    "id",
    "id2",
    "rsakey",
    "cert",
    "cert2",
    "cert_policy",
    "ca",
    "ca2",
    "groups",
    "groups2",
    "updown",
    "address",
    "subnets",
    "sourceip",
    "dns",
    "eap_id",
)

#: Order in which the C clients append the strings of an ADD_CONN message.
ADD_CONN_ORDER: tuple[str, ...] = (
    "name",
    "eap_identity",
    "aaa_identity",
    "xauth_identity",
    "algorithms.ike",
    "algorithms.esp",
    "algorithms.ah",
    "ikeme.mediated_by",
    "ikeme.peerid",
    *(f"me.{field}" for field in _END_ORDER),
    *(f"other.{field}" for field in _END_ORDER),
)
