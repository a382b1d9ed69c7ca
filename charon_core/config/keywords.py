"""Proposals as they are written: ``aes256gcm16-prfsha384-x25519,aes128-sha256-ecp256!``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.config.algorithm_support import is_supported
from charon_core.config.default_proposals import default_proposals
from charon_core.config.keyword_table import GMAC_INTEGRITY, KEYWORDS, PRF_OF_INTEGRITY
from charon_core.config.proposal import (
    AEAD_CIPHERS,
    ENCR,
    ESN,
    INTEG,
    KE,
    PRF,
    Proposal,
    Transform,
    in_order,
)
from charon_core.encoding.registry import EncryptionId, EsnId, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_PROPOSALS", "ProposalError", "default_proposals", "parse_proposals"]

MAX_PROPOSALS: Final = 50
"""Proposals that one connection may list; an SA payload must hold them with the defaults."""

_STRICT: Final = "!"
_NO_ESN: Final = Transform(ESN, int(EsnId.NO_ESN))
_GMAC: Final = int(EncryptionId.NULL_AUTH_AES_GMAC)
_UNENCRYPTED: Final = frozenset({int(EncryptionId.NULL), _GMAC})


class ProposalError(ValueError):
    """A written proposal that cannot be used; the text says which part and what would do."""


def parse_proposals(
    text: str,
    protocol: ProtocolId,
    *,
    supported: Callable[[int, Transform], bool] = is_supported,
) -> tuple[Proposal, ...]:
    """Take a list of proposals; without ``!`` at its end the default ones are appended.

    An empty text means the default proposals.

    Args:
        text: Proposals joined by commas, each made of keywords joined by ``-``.
        protocol: IKE, ESP or AH; decides what a proposal must and may not have.
        supported: Tells whether (protocol, transform) is available to this daemon.

    Raises:
        ProposalError: an unknown or unavailable algorithm, or a proposal that lacks a part. The
            whole connection must then be refused: leaving a proposal out would weaken it.
    """
    stripped = text.strip()
    if not stripped:
        return default_proposals(protocol)
    strict = stripped.endswith(_STRICT)
    items = stripped.removesuffix(_STRICT).split(",")
    if len(items) > MAX_PROPOSALS:
        message = f"{len(items)} {protocol.name} proposals, at most {MAX_PROPOSALS} are possible"
        raise ProposalError(message)
    proposals = [_parse_one(item.strip(), protocol, supported) for item in items]
    if not strict:
        proposals.extend(default_proposals(protocol))
    return tuple(dict.fromkeys(proposals))


def _parse_one(
    text: str, protocol: ProtocolId, supported: Callable[[int, Transform], bool]
) -> Proposal:
    transforms: dict[Transform, str] = {}
    for written in text.split("-"):
        token = written.strip()
        transform = KEYWORDS.get(token)
        if transform is None:
            raise _error(text, protocol, f"unknown algorithm '{token}'{_suggest(token)}")
        transforms.setdefault(transform, token)
    complete = {ProtocolId.IKE: _complete_ike, ProtocolId.ESP: _complete_esp}.get(
        protocol, _complete_ah
    )
    try:
        proposal = Proposal(protocol, tuple(in_order(complete(list(transforms)))))
    except ProposalError as error:
        raise _error(text, protocol, str(error)) from None
    for transform in proposal.transforms:
        if not supported(protocol, transform):
            name = transforms.get(transform, str(transform))
            raise _error(text, protocol, f"'{name}' ({transform}) is not supported here")
    return proposal


def _error(text: str, protocol: ProtocolId, reason: str) -> ProposalError:
    return ProposalError(f"{protocol.name} proposal '{text}': {reason}")


def _suggest(token: str) -> str:
    # Only needed when something is wrong already.
    from difflib import get_close_matches

    close = get_close_matches(token.lower(), KEYWORDS, n=1, cutoff=0.7)
    return f", did you mean '{close[0]}'?" if close else ""


def _of(transforms: list[Transform], type_: int) -> list[Transform]:
    return [transform for transform in transforms if transform.type == type_]


def _without(transforms: list[Transform], *types: int) -> list[Transform]:
    return [transform for transform in transforms if transform.type not in types]


def _all_aead(ciphers: list[Transform]) -> bool:
    """Tell combined-mode ciphers from classic ones, which cannot share a proposal."""
    kinds = {cipher.id in AEAD_CIPHERS for cipher in ciphers}
    if len(kinds) > 1:
        names = "/".join(map(str, ciphers))
        message = f"{names} mixes AEAD and classic ciphers; write two proposals with a comma"
        raise ProposalError(message)
    return kinds == {True}


def _complete_ike(transforms: list[Transform]) -> list[Transform]:
    transforms = [t for t in _without(transforms, ESN) if t.type != KE or not t.is_none]
    ciphers = _of(transforms, ENCR)
    if not ciphers:
        message = "no encryption algorithm, for example aes256"
        raise ProposalError(message)
    if any(cipher.id in _UNENCRYPTED for cipher in ciphers):
        message = "an IKE_SA must be encrypted, but the cipher is NULL"
        raise ProposalError(message)
    aead = _all_aead(ciphers)
    integrity = _of(transforms, INTEG)
    if not integrity and not aead:
        message = "no integrity algorithm, for example sha256"
        raise ProposalError(message)
    if not _of(transforms, PRF):
        derived = dict.fromkeys(PRF_OF_INTEGRITY.get(transform.id) for transform in integrity)
        transforms += [Transform(PRF, number) for number in derived if number is not None]
    if not _of(transforms, PRF):
        message = "no pseudorandom function, for example prfsha256"
        raise ProposalError(message)
    if not _of(transforms, KE):
        message = "no key exchange method, for example x25519"
        raise ProposalError(message)
    return _without(transforms, INTEG) if aead else transforms


def _complete_esp(transforms: list[Transform]) -> list[Transform]:
    transforms = _without(transforms, PRF)
    ciphers = _of(transforms, ENCR)
    if not ciphers:
        message = "no encryption algorithm, for example aes256"
        raise ProposalError(message)
    if _all_aead(ciphers):
        transforms = _without(transforms, INTEG)
    elif not _of(transforms, INTEG) and any(c.id == EncryptionId.NULL for c in ciphers):
        message = "neither encryption nor integrity: add an integrity algorithm, such as sha256"
        raise ProposalError(message)
    return _with_esn(transforms)


def _complete_ah(transforms: list[Transform]) -> list[Transform]:
    gmac = [
        Transform(INTEG, GMAC_INTEGRITY[cipher.key_length])
        for cipher in _of(transforms, ENCR)
        if cipher.id == _GMAC
    ]
    transforms = gmac + _without(transforms, ENCR, PRF)
    if not _of(transforms, INTEG):
        message = "no integrity algorithm, for example sha256"
        raise ProposalError(message)
    return _with_esn(transforms)


def _with_esn(transforms: list[Transform]) -> list[Transform]:
    return transforms if _of(transforms, ESN) else [*transforms, _NO_ESN]
