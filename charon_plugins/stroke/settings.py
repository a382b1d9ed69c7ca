"""The plugin's own settings: ``[plugins.stroke]`` of charon.toml."""

from __future__ import annotations

from dataclasses import dataclass

from charon_core.settings.option import option


@dataclass(frozen=True, slots=True)
class StrokeSettings:
    """``[plugins.stroke]``."""

    max_concurrent: int = option(
        4,
        "Requests handled at once; others wait. Who waits for a peer takes no place, and "
        "one is kept for requests that ask nobody for a passphrase: 'status' is always answered.",
        minimum=1,
        maximum=256,
    )
    timeout: float = option(
        0.0,
        "Longest wait of 'up' and 'down' for the result; the operation itself goes on. "
        "0: as long as it takes.",
        unit="s",
        minimum=0,
        maximum=86400,
    )
    prevent_loglevel_changes: bool = option(False, "Refuse 'loglevel'.")
    allow_swap: bool = option(
        True, "Exchange left and right of a connection if 'right' is one of our own addresses."
    )
    ignore_missing_ca_basic_constraint: bool = option(
        False, "Trust CA certificates that do not say that they are one."
    )
