"""Keywords of ipsec.conf: what each one takes, and which fields of the message it sets."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from charon_plugins.stroke.starter import values
from charon_plugins.stroke.starter.place import InvalidValueError
from charon_plugins.stroke.wire.types import (
    ALL_PORTS,
    REPLAY_WINDOW_DEFAULT,
    TFC_MTU,
    CrlPolicy,
    WireAction,
    WireFragmentation,
    WireMode,
    WireSendCert,
    WireUnique,
    WireVersion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Script behind ``leftfirewall=yes``.
FIREWALL_UPDOWN: Final = "ipsec _updown iptables"

# The C starter sends its own bits for "yes" in these fields.
_MOBIKE, _FORCE_ENCAP, _IPCOMP, _PUSH = 64, 128, 2, 16


class Draft(dict[str, int | str]):
    """Fields of a message under construction by dotted path (``me.auth``), before it is frozen.

    Entries whose path begins with ``-`` are notes for the last step and not fields.
    """


Apply: TypeAlias = "Callable[[Draft, str], None]"
Parse: TypeAlias = "Callable[[str], int]"


def _number(path: str, parse: Parse) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        draft[path] = parse(value)

    return apply


def _text(path: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        draft[path] = value

    return apply


def _integer(path: str, maximum: int) -> Apply:
    return _number(path, lambda value: values.parse_int(value, maximum))


def _time(path: str) -> Apply:
    return _number(path, values.parse_time)


def _choice(path: str, choices: Mapping[str, int]) -> Apply:
    return _number(path, lambda value: values.parse_choice(value, choices))


def _switch(path: str, yes: int = 1) -> Apply:
    return _choice(path, {"yes": yes, "no": 0})


def _integer_or(path: str, maximum: int, words: Mapping[str, int]) -> Apply:
    def parse(value: str) -> int:
        if value in words:
            return words[value]
        try:
            return values.parse_int(value, maximum)
        except InvalidValueError as problem:
            raise InvalidValueError(f"{problem} or {', '.join(words)}") from None

    return _number(path, parse)


_MODES = {
    "tunnel": WireMode.TUNNEL,
    "transport": WireMode.TRANSPORT,
    "transport_proxy": WireMode.TRANSPORT,
    "beet": WireMode.BEET,
    "passthrough": WireMode.PASS,
    "pass": WireMode.PASS,
    "drop": WireMode.DROP,
    "reject": WireMode.DROP,
}


def _type(draft: Draft, value: str) -> None:
    draft["mode"] = values.parse_choice(value, _MODES)
    draft["proxy_mode"] = int(value == "transport_proxy")


def _mark(*sides: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        number, mask = values.parse_mark(value)
        for side in sides:
            draft[f"mark_{side}.value"] = number
            draft[f"mark_{side}.mask"] = mask

    return apply


_AUTHBY = (
    "psk",
    "secret",
    "pubkey",
    "rsa",
    "rsasig",
    "ecdsa",
    "ecdsasig",
    "xauthpsk",
    "xauthrsasig",
    "never",
)


def _authby(draft: Draft, value: str) -> None:
    values.parse_choice(value, dict.fromkeys(_AUTHBY, 0))
    draft["-authby"] = value


AUTO: Final = MappingProxyType({"ignore": 0, "add": 1, "route": 2, "start": 3})
_ACTIONS = {action.name.lower(): action for action in WireAction}

CONN: Final[Mapping[str, Apply]] = MappingProxyType(
    {
        "aaa_identity": _text("aaa_identity"),
        "aggressive": _switch("aggressive"),
        "ah": _text("algorithms.ah"),
        "authby": _authby,
        "auto": _choice("-auto", AUTO),
        "closeaction": _choice("close_action", _ACTIONS),
        "compress": _switch("ipcomp", _IPCOMP),
        "dpdaction": _choice("dpd.action", _ACTIONS),
        "dpddelay": _time("dpd.delay"),
        "dpdtimeout": _time("dpd.timeout"),
        "eap_identity": _text("eap_identity"),
        "esp": _text("algorithms.esp"),
        "forceencaps": _switch("force_encap", _FORCE_ENCAP),
        "fragmentation": _choice(
            "fragmentation", {choice.name.lower(): choice for choice in WireFragmentation}
        ),
        "ike": _text("algorithms.ike"),
        "ikedscp": _number("ikedscp", values.parse_dscp),
        "ikelifetime": _time("rekey.ike_lifetime"),
        "inactivity": _time("inactivity"),
        "installpolicy": _switch("install_policy"),
        "keyexchange": _choice(
            "version",
            {"ike": WireVersion.ANY, "ikev1": WireVersion.IKEV1, "ikev2": WireVersion.IKEV2},
        ),
        "keyingtries": _integer_or("rekey.tries", values.U64_MAX, {"%forever": 0}),
        "lifebytes": _integer("rekey.life_bytes", values.U64_MAX),
        "lifepackets": _integer("rekey.life_packets", values.U64_MAX),
        "lifetime": _time("rekey.ipsec_lifetime"),
        "marginbytes": _integer("rekey.margin_bytes", values.U64_MAX),
        "marginpackets": _integer("rekey.margin_packets", values.U64_MAX),
        "margintime": _time("rekey.margin"),
        "mark": _mark("in", "out"),
        "mark_in": _mark("in"),
        "mark_out": _mark("out"),
        "me_peerid": _text("ikeme.peerid"),
        "mediated_by": _text("ikeme.mediated_by"),
        "mediation": _switch("ikeme.mediation"),
        "mobike": _switch("mobike", _MOBIKE),
        "modeconfig": _choice("pushmode", {"push": _PUSH, "pull": 0}),
        "reauth": _switch("rekey.reauth"),
        "rekey": _switch("-rekey"),
        "rekeyfuzz": _number("rekey.fuzz", values.parse_percent),
        "replay_window": _integer_or(
            "replay_window", values.U32_MAX, {"-1": REPLAY_WINDOW_DEFAULT}
        ),
        "reqid": _integer("reqid", values.U32_MAX),
        "sha256_96": _switch("sha256_96"),
        "tfc": _integer_or("tfc", values.U32_MAX, {"%mtu": TFC_MTU}),
        "type": _type,
        "xauth": _choice("-xauth_server", {"client": 0, "server": 1}),
        "xauth_identity": _text("xauth_identity"),
    }
)


def _address(end: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        if value == "%defaultroute":
            value = "%any"
        elif value.startswith("%") and value not in ("%any", "%any4", "%any6"):
            value = value[1:]
            draft[f"{end}.allow_any"] = 1
        draft[f"{end}.address"] = value

    return apply


def _subnet(end: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        draft[f"{end}.subnets"] = value
        draft[f"{end}.tohost"] = 0

    return apply


def _sourceip(end: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        draft[f"{end}.sourceip"] = value
        # Virtual addresses need tunnel mode. A type= that is read later still wins.
        draft["mode"] = WireMode.TUNNEL
        draft["proxy_mode"] = 0

    return apply


def _protoport(end: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        protocol, first, last = values.parse_protoport(value)
        draft[f"{end}.protocol"] = protocol
        draft[f"{end}.from_port"] = first
        draft[f"{end}.to_port"] = last

    return apply


def _firewall(end: str) -> Apply:
    def apply(draft: Draft, value: str) -> None:
        if values.parse_choice(value, {"yes": 1, "no": 0}):
            _set_updown(draft, end, FIREWALL_UPDOWN)

    return apply


def _updown(end: str) -> Apply:
    return lambda draft, value: _set_updown(draft, end, value)


def _set_updown(draft: Draft, end: str, script: str) -> None:
    if f"{end}.updown" in draft:
        raise InvalidValueError("expected either a firewall or an updown setting, not both")
    draft[f"{end}.updown"] = script


_SENDCERT = {
    "always": WireSendCert.ALWAYS,
    "yes": WireSendCert.ALWAYS,
    "ifasked": WireSendCert.IF_ASKED,
    "never": WireSendCert.NEVER,
    "no": WireSendCert.NEVER,
}


def _end_keywords(prefix: str, end: str) -> dict[str, Apply]:
    texts = {
        "auth": "auth",
        "auth2": "auth2",
        "ca": "ca",
        "ca2": "ca2",
        "cert": "cert",
        "cert2": "cert2",
        "certpolicy": "cert_policy",
        "dns": "dns",
        "groups": "groups",
        "groups2": "groups2",
        "id": "id",
        "id2": "id2",
        "sigkey": "rsakey",
    }
    keywords = {name: _text(f"{end}.{field}") for name, field in texts.items()}
    keywords |= {
        "": _address(end),
        "allowany": _switch(f"{end}.allow_any"),
        "firewall": _firewall(end),
        "hostaccess": _switch(f"{end}.hostaccess"),
        "ikeport": _integer(f"{end}.ikeport", 65535),
        "protoport": _protoport(end),
        "sendcert": _choice(f"{end}.sendcert", _SENDCERT),
        "sourceip": _sourceip(end),
        "subnet": _subnet(end),
        "updown": _updown(end),
    }
    return {prefix + name: apply for name, apply in keywords.items()}


ENDS: Final[Mapping[str, Apply]] = MappingProxyType(
    _end_keywords("left", "me") | _end_keywords("right", "other")
)

CA: Final[Mapping[str, Apply]] = MappingProxyType(
    {
        "auto": _choice("-auto", AUTO),
        "cacert": _text("cacert"),
        "certuribase": _text("certuribase"),
        "crluri": _text("crluri"),
        "crluri2": _text("crluri2"),
        "ocspuri": _text("ocspuri"),
        "ocspuri2": _text("ocspuri2"),
    }
)

UNIQUE = {
    "no": WireUnique.NO,
    "yes": WireUnique.YES,
    "replace": WireUnique.REPLACE,
    "keep": WireUnique.KEEP,
    "never": WireUnique.NEVER,
}

SETUP: Final[Mapping[str, Apply]] = MappingProxyType(
    {
        "cachecrls": _switch("-cache_crls"),
        "charondebug": _text("-debug"),
        "strictcrlpolicy": _choice(
            "crl_policy", {"no": CrlPolicy.NO, "yes": CrlPolicy.YES, "ifuri": CrlPolicy.IF_URI}
        ),
        "uniqueids": _choice("unique", UNIQUE),
    }
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Keywords that once meant something, by kind of section; they are ignored with a warning.
DEPRECATED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "config setup": _words(
            """interfaces dumpdir charonstart plutostart klipsdebug plutodebug prepluto postpluto
            plutostderrlog fragicmp packetdefault hidetos overridemtu crlcheckinterval nocrsend
            nat_traversal keep_alive force_keepalive virtual_private pkcs11module pkcs11initargs
            pkcs11keepstate pkcs11proxy"""
        ),
        "conn": _words("eap pfs pfsgroup leftnexthop rightnexthop"),
        "ca": _words("ldaphost ldapbase"),
    }
)

END_DEFAULTS: Final[Mapping[str, int | str]] = MappingProxyType(
    {"ikeport": 500, "sendcert": WireSendCert.IF_ASKED, "tohost": 1, "to_port": ALL_PORTS[1]}
)

CONN_DEFAULTS: Final[Mapping[str, int | str]] = MappingProxyType(
    {
        "mode": WireMode.TUNNEL,
        "mobike": _MOBIKE,
        "fragmentation": WireFragmentation.YES,
        "install_policy": 1,
        "unique": WireUnique.YES,
        "rekey.reauth": 1,
        "rekey.ipsec_lifetime": 3600,
        "rekey.ike_lifetime": 10800,
        "rekey.margin": 540,
        "rekey.tries": 3,
        "rekey.fuzz": 100,
        "dpd.delay": 30,
        "dpd.timeout": 150,
        "replay_window": REPLAY_WINDOW_DEFAULT,
        "me.address": "%any",
        "other.address": "%any",
        **{f"me.{key}": value for key, value in END_DEFAULTS.items()},
        **{f"other.{key}": value for key, value in END_DEFAULTS.items()},
    }
)
