"""The marks and XFRM interfaces of a CHILD_SA, unique ones among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from charon_core.config.child import (
    MARK_UNIQUE,
    MARK_UNIQUE_DIRECTION,
    UNIQUE_MARKS,
    ChildConfig,
    Mark,
)
from charon_core.kernel.interface import KernelFeature

if TYPE_CHECKING:
    from collections.abc import Container, Iterator


class Marks(NamedTuple):
    """What tells the packets of a CHILD_SA from others with the same addresses.

    Attributes:
        mark_in: Of inbound SA and policies.
        mark_out: Of the outbound ones.
        if_id_in: The XFRM interface of inbound packets, 0 for none.
        if_id_out: That of outbound packets.
    """

    mark_in: Mark | None
    mark_out: Mark | None
    if_id_in: int
    if_id_out: int


def marks_of(config: ChildConfig, numbers: Iterator[int]) -> Marks:
    """Return the marks of a new CHILD_SA; unique ones are numbers that nobody has yet."""
    marks = (config.mark_in, config.mark_out)
    if has_unique_marks(config):
        common = next(numbers) if any(_is(mark, MARK_UNIQUE) for mark in marks) else 0
        marks = (_settled(marks[0], common, numbers), _settled(marks[1], common, numbers))
    return Marks(*marks, config.if_id_in, config.if_id_out)


def has_unique_marks(config: ChildConfig) -> bool:
    """Whether each CHILD_SA of a configuration has marks of its own."""
    return any(
        mark is not None and mark.value in UNIQUE_MARKS
        for mark in (config.mark_in, config.mark_out)
    )


def lacking(config: ChildConfig, features: Container[KernelFeature]) -> str:
    """Return what a kernel backend lacks for the marks of a configuration; empty for nothing."""
    if (config.mark_in or config.mark_out) and KernelFeature.MARK not in features:
        return "the kernel backend knows no marks"
    if (config.if_id_in or config.if_id_out) and KernelFeature.INTERFACE_ID not in features:
        return "the kernel backend knows no XFRM interfaces"
    return ""


def _settled(mark: Mark | None, common: int, numbers: Iterator[int]) -> Mark | None:
    if mark is None or mark.value not in UNIQUE_MARKS:
        return mark
    return mark._replace(value=next(numbers) if _is(mark, MARK_UNIQUE_DIRECTION) else common)


def _is(mark: Mark | None, value: int) -> bool:
    return mark is not None and mark.value == value
