"""What is wrong with a settings file: all of it at once, each with file, line and key."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class SettingsProblem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        file: The settings file.
        line: The line that the key stands in, counted from 1; 0 if there is none.
        key: The key with its sections (``ike.retransmit_tries``); empty if the file as a whole.
        text: What was expected, what came, and what to do.
    """

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class SettingsError(Exception):
    """A settings file that cannot be used; `problems` has everything that is wrong with it."""

    def __init__(self, problems: Sequence[SettingsProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
