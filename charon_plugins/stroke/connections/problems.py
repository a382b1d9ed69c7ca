"""What is wrong with a connection: all of it at once, each with keyword, value and expectation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Complaint(NamedTuple):
    """One thing that is wrong: the keyword of ipsec.conf, its value, what was expected."""

    key: str
    value: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r}: {self.text}"


class SettingError(Exception):
    """A setting cannot be used; the complaint says why."""

    def __init__(self, key: str, value: object, text: str) -> None:
        super().__init__(key, str(value), text)
        self.complaint = Complaint(key, str(value), text)


class IncompleteError(Exception):
    """Something could not be built; the complaints about it have been gathered."""


class InvalidConnectionError(Exception):
    """A connection cannot be used.

    Attributes:
        complaints: everything that is wrong with it.
    """

    def __init__(self, complaints: tuple[Complaint, ...]) -> None:
        super().__init__("; ".join(map(str, complaints)))
        self.complaints = complaints


class Problems:
    """Gathers complaints while the building goes on, so that one try tells them all."""

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []
        self.notes: list[str] = []

    def gather(self, parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Build every part, also behind one that cannot be built.

        Raises:
            IncompleteError: a part could not be built.
        """
        built: dict[str, Any] = {}
        for name, build in parts.items():
            try:
                built[name] = build()
            except SettingError as error:
                self.complaints.append(error.complaint)
            except IncompleteError:
                continue
        if len(built) < len(parts):
            raise IncompleteError
        return built

    def note(self, text: str) -> None:
        """Remark something that is odd but no reason to refuse."""
        self.notes.append(text)
