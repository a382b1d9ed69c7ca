"""What goes wrong when octets of a peer are read: one exception type, and its silent sibling."""

from __future__ import annotations

from charon_core.encoding.registry import NotifyType, name_of


class ParseError(Exception):
    """Octets that do not follow the wire format (RFC 7296 section 2.21).

    The notify type rides on the exception, so that error -> NOTIFY is one line at one place.

    Attributes:
        payload: what was being read, in the field's words ("SA", "KE", "IKE header").
        offset: octets from the beginning of the outermost data to where reading failed.
        reason: what was expected and what came.
        notify: the error notify that answers this fault.
        notify_data: notification data that belongs to `notify`, for instance the payload type
            octet of UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 section 2.5).
        answerable: whether `notify` may be sent to the peer. INVALID_SYNTAX only answers what
            came inside a verified SK payload, lest forged messages get answers (section
            3.10.1); and nothing answers faults around an SK payload that is not verified yet.
    """

    def __init__(
        self,
        payload: str,
        offset: int,
        reason: str,
        notify: NotifyType = NotifyType.INVALID_SYNTAX,
        notify_data: bytes = b"",
    ) -> None:
        super().__init__(payload, offset, reason)
        self.payload = payload
        self.offset = offset
        self.reason = reason
        self.notify = notify
        self.notify_data = notify_data
        self.answerable = notify != NotifyType.INVALID_SYNTAX

    def __str__(self) -> str:
        where = f"{self.payload}, octet {self.offset}" if self.payload else f"octet {self.offset}"
        suffix = ""
        if self.notify != NotifyType.INVALID_SYNTAX:
            suffix = f" ({name_of(NotifyType, self.notify)})"
        return f"{where}: {self.reason}{suffix}"


class IntegrityError(ParseError):
    """A protected message whose checksum or padding is wrong.

    Anybody can make one, so it is dropped without an answer and without a change of state
    (RFC 7296 section 2.21.3).
    """
