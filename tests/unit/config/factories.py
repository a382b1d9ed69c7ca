"""Configurations for tests, as short as prose."""

from __future__ import annotations

from charon_core.config.child import ChildConfig
from charon_core.config.identification import Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.peer import AuthClass, AuthConfig, PeerConfig


def ike(local="%any", remote="%any", **fields):
    """Addresses as a text with commas."""
    fields.setdefault("name", "ike")
    return IkeConfig(local=tuple(local.split(",")), remote=tuple(remote.split(",")), **fields)


def auth(identity="%any", **fields):
    fields.setdefault("auth_class", AuthClass.PSK)
    return AuthConfig(identity=Identification.parse(identity), **fields)


def peer(name="home", *, left="%any", right="%any", leftid="%any", rightid="%any", **fields):
    """A connection in the words of ipsec.conf."""
    fields.setdefault("children", (ChildConfig(name=name),))
    return PeerConfig(
        name=name,
        ike=ike(left, right, name=name),
        local=(auth(leftid),),
        remote=(auth(rightid),),
        **fields,
    )
