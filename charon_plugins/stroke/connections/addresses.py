"""Addresses and selectors: traffic selectors, virtual addresses, pools, name servers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from charon_core.config.traffic_selector import TrafficSelector
from charon_plugins.stroke.connections.ends import items
from charon_plugins.stroke.connections.problems import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_plugins.stroke.connections.ends import Side
    from charon_plugins.stroke.wire.bodies import End

ANY_IPV4: Final = "0.0.0.0"
ANY_IPV6: Final = "::"

_ICMP: Final = (1, 58)
_MAX_TYPE: Final = 255

_ANY_FAMILY: Final = frozenset({"%config", "%cfg", "%modeconfig", "%modecfg"})
_IPV4_WORDS: Final = frozenset(f"{word}4" for word in _ANY_FAMILY)
_IPV6_WORDS: Final = frozenset(f"{word}6" for word in _ANY_FAMILY)
CONFIG_WORDS: Final = _ANY_FAMILY | _IPV4_WORDS | _IPV6_WORDS


def selectors(side: Side) -> tuple[TrafficSelector, ...]:
    """Traffic selectors of an end; the IKE address or virtual addresses if it names none.

    Raises:
        SettingError: an item is no selector.
    """
    end = side.end
    protocol, ports = end.protocol, _ports(end)
    found: list[TrafficSelector] = []
    for item in items(end.subnets):
        try:
            found.append(TrafficSelector.parse(item, protocol, ports))
        except ValueError as error:
            raise SettingError(
                side.key("subnet"), item, f"expected NETWORK/BITS[PROTOCOL/PORT]: {error}"
            ) from None
    if found:
        return tuple(found)
    try:
        return (TrafficSelector.dynamic_of(protocol, ports),)
    except ValueError as error:
        raise SettingError(side.key("protoport"), f"{protocol}/{ports}", str(error)) from None


def _ports(end: End) -> tuple[int, int]:
    """Ports of leftprotoport; for ICMP a number below 256 is a type, which is the high octet."""
    first, last = end.from_port, end.to_port
    if end.protocol in _ICMP and first <= last <= _MAX_TYPE:
        return first << 8, last << 8
    return first, last


def virtual_ips(local: Side, remote: Side) -> tuple[str, ...]:
    """Addresses to ask the peer for.

    A remote end with a pool hands addresses out instead: then our own wish is ignored.

    Raises:
        SettingError: an item is neither an address nor one of the words.
    """
    if remote.end.sourceip:
        return ()
    return tuple(
        _wished(local.key("sourceip"), item, _family(local, remote))
        for item in items(local.end.sourceip)
    )


def request_dns(local: Side) -> tuple[str, ...]:
    """Name servers to ask the peer for.

    Raises:
        SettingError: an item is neither an address nor one of the words.
    """
    return tuple(_wished(local.key("dns"), item, ANY_IPV4) for item in items(local.end.dns))


def hand_out_dns(remote: Side) -> tuple[str, ...]:
    """Name servers to tell the peer.

    Raises:
        SettingError: an item is no address.
    """
    return tuple(
        _address(remote.key("dns"), item, "an IP address") for item in items(remote.end.dns)
    )


def pools(
    remote: Side,
    name: str,
    *,
    add_pool: Callable[[str], object],
    add_grants: Callable[[str], object],
) -> tuple[str, ...]:
    """Names of the pools that the peer's virtual addresses come from.

    Args:
        remote: the peer's end.
        name: of the connection, which is that of a pool that grants what is asked for.
        add_pool: makes a pool in memory of ``network/bits`` or ``from-to``.
        add_grants: makes a pool that grants what is asked for.

    Raises:
        SettingError: an item describes no pool.
    """
    found: list[str] = []
    for item in items(remote.end.sourceip):
        if item in CONFIG_WORDS:
            add_grants(name)
            found.append(name)
        elif item.startswith("%"):
            found.append(item[1:])
        else:
            try:
                add_pool(item)
            except ValueError as error:
                raise SettingError(
                    remote.key("sourceip"), item, f"expected a pool such as 10.9.0.0/24: {error}"
                ) from None
            found.append(item)
    return tuple(dict.fromkeys(found))


def _wished(key: str, item: str, any_family: str) -> str:
    if item in _ANY_FAMILY:
        return any_family
    if item in _IPV4_WORDS:
        return ANY_IPV4
    if item in _IPV6_WORDS:
        return ANY_IPV6
    return _address(key, item, "an IP address, %config, %config4 or %config6")


def _address(key: str, item: str, expected: str) -> str:
    try:
        return str(ip_address(item))
    except ValueError:
        raise SettingError(key, item, f"expected {expected}") from None


def _family(local: Side, remote: Side) -> str:
    """Family of an address that is wished for without saying which: that of the networks."""
    for text in (local.end.subnets, remote.end.subnets, local.end.address):
        first = next(iter(items(text)), None)
        if first is not None and not first.startswith("%dynamic"):
            return ANY_IPV6 if ":" in first.partition("[")[0] or first == "%any6" else ANY_IPV4
    return ANY_IPV4
