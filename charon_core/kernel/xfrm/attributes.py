"""The attributes of XFRM messages on pyroute2's nlmsg framework: enum xfrm_attr_type_t."""

# ruff: noqa: N801 - the class names are those of the C structures, as everywhere in pyroute2
# mypy: disable-error-code="misc,no-untyped-call"

from __future__ import annotations

import sys
from typing import Any, ClassVar

from pyroute2.netlink import nla

from charon_core.kernel.xfrm import structs
from charon_core.kernel.xfrm.structure import Address, Structure, unpack_address

_NLA_HEADER_SIZE = 4
_ALIGN = 4


def to_text(value: dict[str, Any], family: int, *names: str) -> None:
    """Make text of the named addresses of a structure."""
    for name in names:
        value[name] = unpack_address(value[name], family)


class struct_nla(nla):
    """An attribute that is one C structure."""

    __slots__ = ()
    structure: ClassVar[type[Structure]]

    def setvalue(self, value: Any) -> Any:
        """Keep the dictionary apart: it is the value, not the attribute's own fields."""
        self.value = value
        return self

    def ft_encode(self, offset: int) -> tuple[int, int]:
        """Append the value, padded; return the new offset and how much of it is padding."""
        octets = self.pack_value(self.value)
        padding = -len(octets) % _ALIGN
        self.data.extend(octets + bytes(padding))
        return offset + len(octets) + padding, padding

    def decode(self) -> None:
        """Unpack the value."""
        begin = self.offset + _NLA_HEADER_SIZE
        self.value = self.unpack_value(bytes(self.data[begin : self.offset + self.length]))
        self.decoded = True

    def pack_value(self, value: Any) -> bytes:
        """Return the octets of the attribute."""
        return self.structure.pack(value)

    def unpack_value(self, data: bytes) -> Any:
        """Return the value from the octets of the attribute."""
        return self.structure.unpack(data)


class algorithm_nla(struct_nla):
    """An algorithm: its name, lengths in bits, and its key, which no repr shows."""

    __slots__ = ()

    def pack_value(self, value: Any) -> bytes:
        """Derive the key's length from the key."""
        key: bytes = value["alg_key"]
        name = value["alg_name"].encode("ascii")
        fixed = {**value, "alg_name": name, "alg_key_len": 8 * len(key)}
        return self.structure.pack(fixed) + key

    def unpack_value(self, data: bytes) -> Any:
        """Return a dictionary that hides its key when printed."""
        value = algorithm_value(self.structure.unpack(data))
        value["alg_name"] = value["alg_name"].rstrip(b"\0").decode("ascii", "replace")
        octets = (value["alg_key_len"] + 7) // 8
        value["alg_key"] = data[self.structure.size : self.structure.size + octets]
        return value

    def __repr__(self) -> str:
        return repr(self.value)


class algorithm_value(dict[str, Any]):
    """The value of an algorithm attribute."""

    def __repr__(self) -> str:
        return repr({**self, "alg_key": "***"})


class xfrm_attributes:
    """The attributes of all XFRM messages: enum xfrm_attr_type_t."""

    __slots__ = ()
    prefix = "XFRMA_"

    nla_map = (
        ("XFRMA_UNSPEC", "none"),
        ("XFRMA_ALG_AUTH", "alg"),
        ("XFRMA_ALG_CRYPT", "alg"),
        ("XFRMA_ALG_COMP", "alg"),
        ("XFRMA_ENCAP", "encap_tmpl"),
        ("XFRMA_TMPL", "user_tmpl"),
        ("XFRMA_SA", "sa"),
        ("XFRMA_POLICY", "policy"),
        ("XFRMA_SEC_CTX", "cdata"),
        ("XFRMA_LTIME_VAL", "lifetime_cur"),
        ("XFRMA_REPLAY_VAL", "replay_state"),
        ("XFRMA_REPLAY_THRESH", "uint32"),
        ("XFRMA_ETIMER_THRESH", "uint32"),
        ("XFRMA_SRCADDR", "address"),
        ("XFRMA_COADDR", "address"),
        ("XFRMA_LASTUSED", "uint64"),
        ("XFRMA_POLICY_TYPE", "policy_type"),
        ("XFRMA_MIGRATE", "cdata"),
        ("XFRMA_ALG_AEAD", "alg_aead"),
        ("XFRMA_KMADDRESS", "cdata"),
        ("XFRMA_ALG_AUTH_TRUNC", "alg_auth"),
        ("XFRMA_MARK", "mark"),
        ("XFRMA_TFCPAD", "uint32"),
        ("XFRMA_REPLAY_ESN_VAL", "replay_state_esn"),
        ("XFRMA_SA_EXTRA_FLAGS", "uint32"),
        ("XFRMA_PROTO", "uint8"),
        ("XFRMA_ADDRESS_FILTER", "address_filter"),
        ("XFRMA_PAD", "cdata"),
        ("XFRMA_OFFLOAD_DEV", "cdata"),
        ("XFRMA_SET_MARK", "uint32"),
        ("XFRMA_SET_MARK_MASK", "uint32"),
        ("XFRMA_IF_ID", "uint32"),
        ("XFRMA_MTIMER_THRESH", "uint32"),
        ("XFRMA_SA_DIR", "uint8"),
        ("XFRMA_NAT_KEEPALIVE_INTERVAL", "uint32"),
        ("XFRMA_SA_PCPU", "uint32"),
    )

    class alg(algorithm_nla):
        """struct xfrm_algo."""

        __slots__ = ()
        structure = structs.Algorithm

    class alg_auth(algorithm_nla):
        """struct xfrm_algo_auth."""

        __slots__ = ()
        structure = structs.AuthAlgorithm

    class alg_aead(algorithm_nla):
        """struct xfrm_algo_aead."""

        __slots__ = ()
        structure = structs.AeadAlgorithm

    class encap_tmpl(struct_nla):
        """struct xfrm_encap_tmpl."""

        __slots__ = ()
        structure = structs.EncapTemplate

    class user_tmpl(struct_nla):
        """A list of struct xfrm_user_tmpl, one behind the other."""

        __slots__ = ()
        structure = structs.Template

        def pack_value(self, value: Any) -> bytes:
            """Pack each template."""
            return b"".join([self.structure.pack(template) for template in value])

        def unpack_value(self, data: bytes) -> Any:
            """Return the list of templates."""
            templates = []
            for offset in range(0, len(data) - self.structure.size + 1, self.structure.size):
                template = self.structure.unpack(data, offset)
                to_text(template, template["family"], "saddr")
                to_text(template["id"], template["family"], "daddr")
                templates.append(template)
            return templates

    class sa(struct_nla):
        """struct xfrm_usersa_info."""

        __slots__ = ()
        structure = structs.SaInfo

    class policy(struct_nla):
        """struct xfrm_userpolicy_info."""

        __slots__ = ()
        structure = structs.PolicyInfo

    class lifetime_cur(struct_nla):
        """struct xfrm_lifetime_cur."""

        __slots__ = ()
        structure = structs.LifetimeCurrent

    class replay_state(struct_nla):
        """struct xfrm_replay_state."""

        __slots__ = ()
        structure = structs.ReplayState

    class replay_state_esn(struct_nla):
        """struct xfrm_replay_state_esn with its bitmap, a list of 32-bit words."""

        __slots__ = ()
        structure = structs.ReplayStateEsn

        def pack_value(self, value: Any) -> bytes:
            """Pack the head, then ``bmp_len`` words (zero where ``bmp`` is too short)."""
            words = [*value.get("bmp", ())]
            words += [0] * (value["bmp_len"] - len(words))
            return self.structure.pack(value) + b"".join(
                word.to_bytes(4, sys.byteorder) for word in words[: value["bmp_len"]]
            )

        def unpack_value(self, data: bytes) -> Any:
            """Return the head with ``bmp``."""
            value = self.structure.unpack(data)
            bitmap = data[self.structure.size :][: 4 * value["bmp_len"]]
            value["bmp"] = [
                int.from_bytes(bitmap[start : start + 4], sys.byteorder)
                for start in range(0, len(bitmap), 4)
            ]
            return value

    class mark(struct_nla):
        """struct xfrm_mark."""

        __slots__ = ()
        structure = structs.Mark

    class policy_type(struct_nla):
        """struct xfrm_userpolicy_type."""

        __slots__ = ()
        structure = structs.PolicyType

    class address_filter(struct_nla):
        """struct xfrm_address_filter."""

        __slots__ = ()
        structure = structs.AddressFilter

    class address(struct_nla):
        """xfrm_address_t, from text or octets; decodes to octets."""

        __slots__ = ()
        structure = Address
