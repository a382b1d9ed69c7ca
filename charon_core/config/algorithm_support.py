"""Which transforms this daemon can really use, so that nothing else is ever negotiated."""

from __future__ import annotations

from functools import cache

from charon_core.config.proposal import ADDITIONAL_KE, ESN, KE, Transform
from charon_core.encoding.registry import EsnId, TransformType


def is_supported(protocol: int, transform: Transform) -> bool:
    """Tell whether a transform of a proposal for `protocol` is available.

    Protocols do not differ yet: IKE and ESP take their keys from the same tables.
    """
    del protocol
    if transform.type == ESN:
        return transform.id in {EsnId.NO_ESN, EsnId.ESN}
    if transform.is_none:
        return True
    type_ = KE if transform.type in ADDITIONAL_KE else transform.type
    return (transform.id, transform.key_length) in _available(type_)


@cache
def _available(type_: int) -> frozenset[tuple[int, int | None]]:
    # Loaded with the first proposal: what exists depends on the installed libraries.
    from charon_core.crypto.algorithms import supported

    return frozenset((int(number), bits) for number, bits in supported(TransformType(type_)))
