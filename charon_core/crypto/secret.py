"""A wrapper that keeps key material out of logs, reprs, tracebacks and pickles."""

from __future__ import annotations

import hmac
from typing import Any, Final, NoReturn

_MASK: Final = "Secret(***)"


class Secret:
    """Octets that are only seen by those who ask for them with `reveal`.

    Comparison takes the same time wherever two secrets of one length differ. The wrapper is
    immutable and hashable, so frozen dataclasses may hold it.
    """

    __slots__ = ("_octets",)
    _octets: bytes

    def __init__(self, octets: bytes | bytearray | memoryview) -> None:
        object.__setattr__(self, "_octets", bytes(octets))

    def reveal(self) -> bytes:
        """Return the octets; call it where they are used, and do not store the result."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    def __bool__(self) -> bool:
        return bool(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash((Secret, self._octets))

    def __repr__(self) -> str:
        return _MASK

    def __str__(self) -> str:
        return _MASK

    def __format__(self, format_spec: str) -> str:
        return format(_MASK, format_spec)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a Secret cannot be changed; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed; drop the last reference to it")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; pass the reference instead")
