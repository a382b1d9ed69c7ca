"""Liveness check: an INFORMATIONAL exchange without payloads (RFC 7296 1.4, 2.4)."""

from __future__ import annotations

from typing import ClassVar

from charon_core.sa.tasks.task import Outcome, Outgoing, Task


class Liveness(Task):
    """Asks for a sign of life with an empty request; any response is one.

    As responder it answers a request that carries nothing for another task, with an empty
    response: what all tasks do that leave both halves as they are.
    """

    __slots__ = ()
    name: ClassVar[str] = "IKE_DPD"

    def build_request(self, out: Outgoing) -> Outcome:  # noqa: ARG002
        """Send a request without payloads, and wait for its response."""
        return Outcome.MORE
