"""Which transforms this daemon can really use, so that nothing else is ever negotiated."""

from __future__ import annotations

from functools import cache

from charon_core.config.proposal import ADDITIONAL_KE, ENCR, ESN, INTEG, KE, Transform
from charon_core.encoding.registry import EsnId, ProtocolId, TransformType


def is_supported(protocol: int, transform: Transform) -> bool:
    """Tell whether a transform of a proposal for `protocol` is available.

    What an IKE_SA uses must work here. ESP and AH are the kernel's work, so for them it is enough
    that keys of the right lengths can be derived; NULL encryption is theirs alone.
    """
    if transform.type == ESN:
        return transform.id in {EsnId.NO_ESN, EsnId.ESN}
    if transform.is_none:
        return True
    algorithm = transform.id, transform.key_length
    if protocol != ProtocolId.IKE and transform.type in {ENCR, INTEG}:
        return algorithm in _derivable(transform.type)
    return algorithm in _available(KE if transform.type in ADDITIONAL_KE else transform.type)


@cache
def _available(type_: int) -> frozenset[tuple[int, int | None]]:
    # Loaded with the first proposal: what exists depends on the installed libraries.
    from charon_core.crypto.algorithms import supported

    return frozenset((int(number), bits) for number, bits in supported(TransformType(type_)))


@cache
def _derivable(type_: int) -> frozenset[tuple[int, int | None]]:
    from charon_core.crypto.ciphers import ENCRYPTION_SPECS
    from charon_core.crypto.integrity import INTEGRITY_ALGORITHMS

    if type_ == ENCR:
        return frozenset((int(spec.id), spec.key_bits) for spec in ENCRYPTION_SPECS)
    return frozenset((int(algorithm.id), None) for algorithm in INTEGRITY_ALGORITHMS)
