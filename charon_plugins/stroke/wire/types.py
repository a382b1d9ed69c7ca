"""Numbers of the stroke protocol: message types, flags and enumerations.

All numbers are those of the native C clients (strongSwan 5.3.1 and later, LP64 little endian).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class MessageType(IntEnum):
    """What a message asks for; the number selects the layout of its body."""

    INITIATE = 0
    ROUTE = 1
    UNROUTE = 2
    ADD_CONN = 3
    DEL_CONN = 4
    TERMINATE = 5
    TERMINATE_SRCIP = 6
    REKEY = 7
    STATUS = 8
    STATUS_ALL = 9
    STATUS_ALL_NOBLK = 10
    ADD_CA = 11
    DEL_CA = 12
    LOGLEVEL = 13
    CONFIG = 14
    LIST = 15
    REREAD = 16
    PURGE = 17
    LEASES = 18
    EXPORT = 19
    MEMUSAGE = 20
    USER_CREDS = 21
    COUNTERS = 22

    @property
    def label(self) -> str:
        """Name for people and logs, such as ``add_conn``."""
        return self.name.lower()


class ListFlag(IntFlag):
    """What a LIST message asks to be listed."""

    PUBKEYS = 0x0001
    CERTS = 0x0002
    CACERTS = 0x0004
    OCSPCERTS = 0x0008
    AACERTS = 0x0010
    ACERTS = 0x0020
    GROUPS = 0x0040
    CAINFOS = 0x0080
    CRLS = 0x0100
    OCSP = 0x0200
    ALGS = 0x0400
    PLUGINS = 0x0800
    ALL = 0x0FFF


class RereadFlag(IntFlag):
    """What a REREAD message asks to be read again."""

    SECRETS = 0x01
    CACERTS = 0x02
    OCSPCERTS = 0x04
    AACERTS = 0x08
    ACERTS = 0x10
    CRLS = 0x20
    ALL = 0x3F


class PurgeFlag(IntFlag):
    """Which caches a PURGE message flushes."""

    OCSP = 0x01
    CRLS = 0x02
    CERTS = 0x04
    IKE = 0x08


class ExportFlag(IntFlag):
    """What an EXPORT message prints as PEM."""

    X509 = 0x01
    CONN_CERT = 0x02
    CONN_CHAIN = 0x04


class WireVersion(IntEnum):
    """Which IKE versions a connection speaks (``keyexchange``)."""

    ANY = 0
    IKEV1 = 1
    IKEV2 = 2


class WireMode(IntEnum):
    """IPsec mode of a connection (``type``)."""

    TRANSPORT = 1
    TUNNEL = 2
    BEET = 3
    PASS = 4
    DROP = 5


class WireAction(IntEnum):
    """What to do on a dead peer or an unexpected close (``dpdaction``, ``closeaction``)."""

    NONE = 0
    CLEAR = 1
    HOLD = 2
    RESTART = 3


class WireUnique(IntEnum):
    """Handling of duplicate IKE_SAs of one peer (``uniqueids``)."""

    NO = 0
    YES = 1
    REPLACE = 2
    KEEP = 3
    NEVER = 4


class WireSendCert(IntEnum):
    """When to send our certificate (``leftsendcert``)."""

    ALWAYS = 0
    IF_ASKED = 1
    NEVER = 2


class WireFragmentation(IntEnum):
    """IKE fragmentation (``fragmentation``)."""

    NO = 0
    ACCEPT = 1
    YES = 2
    FORCE = 3


class CrlPolicy(IntEnum):
    """How strictly revocation is checked (``strictcrlpolicy``)."""

    NO = 0
    YES = 1
    IF_URI = 2


#: ``output_verbosity`` of a request that wants no output and does not wait for the result.
SILENT = -1

MARK_UNIQUE = 0xFFFFFFFF
MARK_UNIQUE_DIRECTION = 0xFFFFFFFE
TFC_MTU = 0xFFFFFFFF
REPLAY_WINDOW_DEFAULT = 0xFFFFFFFF
ALL_PORTS = (0, 65535)
OPAQUE_PORTS = (65535, 0)
