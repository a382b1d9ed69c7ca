"""What can go wrong with a kernel backend, said so that somebody can act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class KernelUnavailable(Exception):  # noqa: N818 - it is a state of this host, reported by probe()
    """A backend cannot work on this host; its text says why and what would help."""


class NoKernelBackend(KernelUnavailable):
    """None of the candidates works; ``reasons`` maps each backend's name to its reason."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(f"no kernel backend works on this host: {listed or 'none registered'}")


class KernelError(Exception):
    """The kernel (or a backend) refused an operation.

    Attributes:
        operation: what was tried, with its subject, never with key material.
        reason: the errno text, or the backend's own words.
        advice: what to do about it; may be empty.
        code: errno, or 0 where there is none.
    """

    def __init__(self, operation: str, reason: str, advice: str = "", code: int = 0) -> None:
        self.operation = operation
        self.reason = reason
        self.advice = advice
        self.code = code
        super().__init__(f"{operation}: {reason}" + (f" ({advice})" if advice else ""))


class SaNotFound(KernelError):  # noqa: N818 - says what is the case
    """The SA or policy that was to be changed does not exist."""


class SaExists(KernelError):  # noqa: N818 - says what is the case
    """An SA with this destination, protocol and SPI exists already."""


class AlgorithmNotSupported(KernelError):  # noqa: N818 - says what is the case
    """The backend does not have the algorithm, or not this key length."""
