"""The registry of EAP methods: by type, vendor and role."""

from __future__ import annotations

import pytest

from charon_core.eap.method import EapStatus, EapStep
from charon_core.eap.registry import EapRegistry, EapRole, EapType

MD5 = EapType(4)


class Method:
    is_mutual = False
    msk = None

    def __init__(self, server: bytes, peer: bytes) -> None:
        self.names = (server, peer)

    def begin(self, identifier: int) -> EapStep:
        return EapStep(EapStatus.MORE, bytes([1, identifier, 0, 5, 4]))

    def process(self, packet: bytes) -> EapStep:
        return EapStep(EapStatus.SUCCESS)


def test_a_method_is_found_by_type_and_role() -> None:
    registry = EapRegistry()
    registry.add(MD5, EapRole.SERVER, Method)
    method = registry.create(MD5, EapRole.SERVER, b"sun", b"carol")
    assert method.names == (b"sun", b"carol")
    assert registry.create(MD5, EapRole.PEER, b"sun", b"carol") is None
    assert registry.create(EapType(4, 9), EapRole.SERVER, b"sun", b"carol") is None
    assert registry.types(EapRole.SERVER) == (MD5,)


def test_two_plugins_cannot_offer_the_same() -> None:
    registry = EapRegistry()
    registry.add(MD5, EapRole.PEER, Method)
    with pytest.raises(ValueError, match="registered as peer already"):
        registry.add(MD5, EapRole.PEER, Method)
    registry.remove(MD5, EapRole.PEER)
    registry.remove(MD5, EapRole.PEER)
    registry.add(MD5, EapRole.PEER, Method)
