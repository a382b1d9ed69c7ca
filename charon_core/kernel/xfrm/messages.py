"""XFRM netlink messages on pyroute2's nlmsg framework.

The classes have the names, the lower case and the ``fields`` and ``nla_map`` tables of pyroute2's
own modules, so that they can stand among them. Nested C structures are dictionaries, addresses
are text, keys are octets::

    message = usersa_id()
    message.update(daddr="10.0.0.2", spi=0xC0000001, family=AF_INET, proto=50)
    message["header"]["type"] = XFRM_MSG_DELSA
    message.encode()

Importing this module loads pyroute2, which takes 0.2 s and 21 MB: only the XFRM backend does it.
"""

# ruff: noqa: N801 - the class names are those of the C structures, as everywhere in pyroute2
# mypy: disable-error-code="misc,no-untyped-call"

from __future__ import annotations

from typing import Any, ClassVar

from pyroute2.netlink import nlmsg

from charon_core.kernel.xfrm import constants, structs
from charon_core.kernel.xfrm.attributes import to_text, xfrm_attributes
from charon_core.kernel.xfrm.structure import Structure

_HEADER_SIZE = 16
_ALIGN = 4


class xfrm_message(xfrm_attributes, nlmsg):
    """Base of the messages: one C structure, then attributes.

    The structure is packed as a whole, where nlmsg would take field by field.
    """

    __slots__ = ()
    structure: ClassVar[type[Structure]] = Structure

    def __init_subclass__(cls) -> None:
        """Show the structure's fields where nlmsg has them."""
        cls.fields = cls.structure.fields

    def ft_encode(self, offset: int) -> tuple[int, int]:
        """Append the structure, padded; return the new offset and nothing to be subtracted."""
        octets = self.structure.pack(dict(self))  # nlmsg.get() would look into attributes, too
        octets += bytes(-len(octets) % _ALIGN)
        self.data.extend(octets)
        return offset + len(octets), 0

    def ft_decode(self, offset: int) -> None:
        """Read the structure and the attributes.

        Raises:
            struct.error: the message is shorter than its structure.
        """
        self.update(self.structure.unpack(self.data, offset))
        self.decode_nlas(offset + (self.structure.size + _ALIGN - 1) // _ALIGN * _ALIGN)
        self.addresses_to_text()

    def addresses_to_text(self) -> None:
        """Replace octets by text, wherever there are addresses."""


def _selector_to_text(value: dict[str, Any]) -> None:
    to_text(value, value["family"], "daddr", "saddr")


def _sa_to_text(value: dict[str, Any]) -> None:
    _selector_to_text(value["sel"])
    to_text(value["id"], value["family"], "daddr")
    to_text(value, value["family"], "saddr")


class usersa_info(xfrm_message):
    """XFRM_MSG_NEWSA, XFRM_MSG_UPDSA, and the answer to XFRM_MSG_GETSA."""

    __slots__ = ()
    structure = structs.SaInfo

    def addresses_to_text(self) -> None:
        """Selector, destination and source."""
        _sa_to_text(self)


class userspi_info(xfrm_message):
    """XFRM_MSG_ALLOCSPI: the SA to be, and the range of SPIs."""

    __slots__ = ()
    structure = structs.SpiInfo

    def addresses_to_text(self) -> None:
        """Those of the SA."""
        _sa_to_text(self["info"])


class usersa_id(xfrm_message):
    """XFRM_MSG_GETSA and XFRM_MSG_DELSA."""

    __slots__ = ()
    structure = structs.SaIdentity

    def addresses_to_text(self) -> None:
        """The destination."""
        to_text(self, self["family"], "daddr")


class usersa_flush(xfrm_message):
    """XFRM_MSG_FLUSHSA."""

    __slots__ = ()
    structure = structs.Flush


class userpolicy_info(xfrm_message):
    """XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY, and the answer to XFRM_MSG_GETPOLICY."""

    __slots__ = ()
    structure = structs.PolicyInfo

    def addresses_to_text(self) -> None:
        """Those of the selector."""
        _selector_to_text(self["sel"])


class userpolicy_id(xfrm_message):
    """XFRM_MSG_GETPOLICY and XFRM_MSG_DELPOLICY."""

    __slots__ = ()
    structure = structs.PolicyId

    def addresses_to_text(self) -> None:
        """Those of the selector."""
        _selector_to_text(self["sel"])


class userpolicy_flush(xfrm_message):
    """XFRM_MSG_FLUSHPOLICY: has attributes only."""

    __slots__ = ()


class user_acquire(xfrm_message):
    """XFRM_MSG_ACQUIRE: a packet (``sel``) met a policy for which there is no SA."""

    __slots__ = ()
    structure = structs.Acquire

    def addresses_to_text(self) -> None:
        """Outer addresses, whose family is that of the template, and both selectors."""
        _selector_to_text(self["sel"])
        _selector_to_text(self["policy"]["sel"])
        templates = self.get_attr("XFRMA_TMPL")
        family = templates[0]["family"] if templates else self["sel"]["family"]
        to_text(self["id"], family, "daddr")
        to_text(self, family, "saddr")


class user_expire(xfrm_message):
    """XFRM_MSG_EXPIRE: a lifetime of an SA ran out."""

    __slots__ = ()
    structure = structs.Expire

    def addresses_to_text(self) -> None:
        """Those of the SA."""
        _sa_to_text(self["state"])


class user_polexpire(xfrm_message):
    """XFRM_MSG_POLEXPIRE: a lifetime of a policy ran out."""

    __slots__ = ()
    structure = structs.PolicyExpire

    def addresses_to_text(self) -> None:
        """Those of the selector."""
        _selector_to_text(self["pol"]["sel"])


class user_mapping(xfrm_message):
    """XFRM_MSG_MAPPING: ESP in UDP of an SA comes from another address or port."""

    __slots__ = ()
    structure = structs.NatMapping

    def addresses_to_text(self) -> None:
        """Destination, old and new source."""
        family = self["id"]["family"]
        to_text(self["id"], family, "daddr")
        to_text(self, family, "old_saddr", "new_saddr")


class aevent_id(xfrm_message):
    """XFRM_MSG_NEWAE and XFRM_MSG_GETAE: replay state and lifetimes of an SA."""

    __slots__ = ()
    structure = structs.AsyncEvent

    def addresses_to_text(self) -> None:
        """Destination and source."""
        family = self["sa_id"]["family"]
        to_text(self["sa_id"], family, "daddr")
        to_text(self, family, "saddr")


class user_report(xfrm_message):
    """XFRM_MSG_REPORT: a packet was refused by its selector."""

    __slots__ = ()
    structure = structs.Report

    def addresses_to_text(self) -> None:
        """Those of the selector."""
        _selector_to_text(self["sel"])


MESSAGE_CLASSES: dict[int, type[xfrm_message]] = {
    constants.XFRM_MSG_NEWSA: usersa_info,
    constants.XFRM_MSG_DELSA: usersa_id,
    constants.XFRM_MSG_GETSA: usersa_id,
    constants.XFRM_MSG_NEWPOLICY: userpolicy_info,
    constants.XFRM_MSG_DELPOLICY: userpolicy_id,
    constants.XFRM_MSG_GETPOLICY: userpolicy_id,
    constants.XFRM_MSG_ALLOCSPI: userspi_info,
    constants.XFRM_MSG_ACQUIRE: user_acquire,
    constants.XFRM_MSG_EXPIRE: user_expire,
    constants.XFRM_MSG_UPDPOLICY: userpolicy_info,
    constants.XFRM_MSG_UPDSA: usersa_info,
    constants.XFRM_MSG_POLEXPIRE: user_polexpire,
    constants.XFRM_MSG_FLUSHSA: usersa_flush,
    constants.XFRM_MSG_FLUSHPOLICY: userpolicy_flush,
    constants.XFRM_MSG_NEWAE: aevent_id,
    constants.XFRM_MSG_GETAE: aevent_id,
    constants.XFRM_MSG_REPORT: user_report,
    constants.XFRM_MSG_MAPPING: user_mapping,
}
"""Message type -> class, in the form of the ``msg_map`` of pyroute2's Marshal."""


def encode_body(message: xfrm_message) -> bytes:
    """Return a message without its netlink header, for :class:`NetlinkSocket`."""
    message.encode()
    return bytes(message.data[_HEADER_SIZE:])
