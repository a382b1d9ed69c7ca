"""Names of SAs that logs and events carry instead of the SAs themselves."""

from __future__ import annotations

from typing import NamedTuple


class SaRef(NamedTuple):
    """Names an IKE_SA without holding it.

    Attributes:
        name: The name of its connection.
        unique_id: Its number, counted from 1 for as long as the daemon runs.
    """

    name: str
    unique_id: int

    def __str__(self) -> str:
        return f"{self.name}[{self.unique_id}]"


class ChildRef(NamedTuple):
    """Names a CHILD_SA without holding it.

    Attributes:
        name: The name of its configuration.
        unique_id: Its number, counted from 1 for as long as the daemon runs.
        reqid: The number that ties its policies to its SAs.
        spi_in: The inbound SPI, 0 while there is none.
        spi_out: The outbound SPI, 0 while there is none.
    """

    name: str
    unique_id: int
    reqid: int
    spi_in: int = 0
    spi_out: int = 0

    def __str__(self) -> str:
        return f"{self.name}{{{self.unique_id}}}"
