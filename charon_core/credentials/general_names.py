"""GeneralName of X.509: alternative names as identities, and what name constraints compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config import der
from charon_core.config.identification import (
    DER_ASN1_GN,
    FQDN,
    IPV4_ADDR,
    IPV6_ADDR,
    RFC822_ADDR,
    Identification,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Context tags of GeneralName (RFC 5280 section 4.2.1.6).
OTHER_NAME: Final = 0xA0
EMAIL: Final = 0x81
DNS: Final = 0x82
DIRECTORY: Final = 0xA4
URI: Final = 0x86
ADDRESS: Final = 0x87

MAX_NAMES: Final = 256
"""Names of one extension; certificates of this field have a handful."""

KIND_NAMES: Final = {
    OTHER_NAME: "otherName",
    EMAIL: "e-mail",
    DNS: "DNS",
    DIRECTORY: "directory",
    URI: "URI",
    ADDRESS: "IP address",
}


class GeneralName(NamedTuple):
    """One name: its tag and its content; a directory name's content is the DER Name itself."""

    tag: int
    content: bytes

    @property
    def kind(self) -> str:
        """What kind of name it is, for messages."""
        return KIND_NAMES.get(self.tag, f"tag 0x{self.tag:02x}")

    @property
    def text(self) -> str:
        """The content of a DNS name, e-mail address or URI."""
        return self.content.decode("ascii", "replace")

    def identity(self) -> Identification | None:
        """Return the identity that this name proves, None for kinds that IKE has no use for.

        Raises:
            DerError: a directory name that is no strict DER Name.
        """
        content = self.content
        if self.tag == DNS:
            return Identification(FQDN, content)
        if self.tag == EMAIL:
            return Identification(RFC822_ADDR, content)
        if self.tag == DIRECTORY:
            return Identification.from_dn(content)
        if self.tag == ADDRESS:
            return Identification(IPV4_ADDR if len(content) == 4 else IPV6_ADDR, content)
        if self.tag == OTHER_NAME:
            return Identification(DER_ASN1_GN, der.encode(OTHER_NAME, content))
        return None


def read_names(data: bytes, start: int, stop: int, *, masks: bool = False) -> list[GeneralName]:
    """Read GeneralNames, the content of a SEQUENCE of them.

    Args:
        data: What `start` and `stop` refer to.
        start: Where the content begins.
        stop: Where it ends.
        masks: Addresses come with a mask, as in name constraints.

    Raises:
        DerError: malformed, text that is not printable ASCII, or addresses of the wrong length.
    """
    return list(_read(data, start, stop, masks=masks))


def _read(data: bytes, start: int, stop: int, *, masks: bool) -> Iterator[GeneralName]:
    for count, (tag, content_start, content_stop) in enumerate(der.elements(data, start, stop)):
        if count >= MAX_NAMES:
            message = f"more than {MAX_NAMES} names in one extension"
            raise der.DerError(message)
        content = data[content_start:content_stop]
        if tag in {EMAIL, DNS, URI}:
            # A NUL or a line feed inside a name has no honest use (RFC 5280: IA5String text).
            if not all(0x20 < octet < 0x7F for octet in content):
                message = f"{KIND_NAMES[tag]} name {content!r} is not printable ASCII"
                raise der.DerError(message)
        elif tag == ADDRESS:
            if len(content) not in ((8, 32) if masks else (4, 16)):
                message = f"IP address of {len(content)} octets in a name"
                raise der.DerError(message)
        elif tag == DIRECTORY:
            # Name is a CHOICE, so its tag is explicit: one more SEQUENCE inside.
            der.whole(content, der.SEQUENCE)
        yield GeneralName(tag, content)
