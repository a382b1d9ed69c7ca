"""The structures of <linux/xfrm.h>, as the 64-bit ABI lays them out."""

from __future__ import annotations

from charon_core.kernel.xfrm.structure import Address, Structure


class Selector(Structure):
    """struct xfrm_selector."""

    fields = (
        ("daddr", Address),
        ("saddr", Address),
        ("dport", ">H"),
        ("dport_mask", ">H"),
        ("sport", ">H"),
        ("sport_mask", ">H"),
        ("family", "H"),
        ("prefixlen_d", "B"),
        ("prefixlen_s", "B"),
        ("proto", "B"),
        ("__pad", "3x"),
        ("ifindex", "i"),
        ("user", "I"),
    )


class Id(Structure):
    """struct xfrm_id."""

    fields = (("daddr", Address), ("spi", ">I"), ("proto", "B"), ("__pad", "3x"))


class LifetimeConfig(Structure):
    """struct xfrm_lifetime_cfg."""

    fields = (
        ("soft_byte_limit", "Q"),
        ("hard_byte_limit", "Q"),
        ("soft_packet_limit", "Q"),
        ("hard_packet_limit", "Q"),
        ("soft_add_expires_seconds", "Q"),
        ("hard_add_expires_seconds", "Q"),
        ("soft_use_expires_seconds", "Q"),
        ("hard_use_expires_seconds", "Q"),
    )


class LifetimeCurrent(Structure):
    """struct xfrm_lifetime_cur; times are seconds since 1970."""

    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class Stats(Structure):
    """struct xfrm_stats."""

    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class SaInfo(Structure):
    """struct xfrm_usersa_info."""

    fields = (
        ("sel", Selector),
        ("id", Id),
        ("saddr", Address),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("stats", Stats),
        ("seq", "I"),
        ("reqid", "I"),
        ("family", "H"),
        ("mode", "B"),
        ("replay_window", "B"),
        ("flags", "B"),
        ("__pad", "7x"),
    )


class SaIdentity(Structure):
    """struct xfrm_usersa_id."""

    fields = (
        ("daddr", Address),
        ("spi", ">I"),
        ("family", "H"),
        ("proto", "B"),
        ("__pad", "x"),
    )


class PolicyInfo(Structure):
    """struct xfrm_userpolicy_info."""

    fields = (
        ("sel", Selector),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("priority", "I"),
        ("index", "I"),
        ("dir", "B"),
        ("action", "B"),
        ("flags", "B"),
        ("share", "B"),
        ("__pad", "4x"),
    )


class SpiInfo(Structure):
    """struct xfrm_userspi_info."""

    fields = (("info", SaInfo), ("min", "I"), ("max", "I"))


class PolicyId(Structure):
    """struct xfrm_userpolicy_id."""

    fields = (("sel", Selector), ("index", "I"), ("dir", "B"), ("__pad", "3x"))


class Acquire(Structure):
    """struct xfrm_user_acquire."""

    fields = (
        ("id", Id),
        ("saddr", Address),
        ("sel", Selector),
        ("policy", PolicyInfo),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class Expire(Structure):
    """struct xfrm_user_expire."""

    fields = (("state", SaInfo), ("hard", "B"), ("__pad", "7x"))


class PolicyExpire(Structure):
    """struct xfrm_user_polexpire."""

    fields = (("pol", PolicyInfo), ("hard", "B"), ("__pad", "7x"))


class NatMapping(Structure):
    """struct xfrm_user_mapping."""

    fields = (
        ("id", SaIdentity),
        ("reqid", "I"),
        ("old_saddr", Address),
        ("new_saddr", Address),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


class AsyncEvent(Structure):
    """struct xfrm_aevent_id."""

    fields = (("sa_id", SaIdentity), ("saddr", Address), ("flags", "I"), ("reqid", "I"))


class Flush(Structure):
    """struct xfrm_usersa_flush."""

    fields = (("proto", "B"),)


class Report(Structure):
    """struct xfrm_user_report."""

    fields = (("proto", "B"), ("__pad", "3x"), ("sel", Selector))


class Template(Structure):
    """struct xfrm_user_tmpl."""

    fields = (
        ("id", Id),
        ("family", "H"),
        ("__pad0", "2x"),
        ("saddr", Address),
        ("reqid", "I"),
        ("mode", "B"),
        ("share", "B"),
        ("optional", "B"),
        ("__pad1", "x"),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
    )


class EncapTemplate(Structure):
    """struct xfrm_encap_tmpl."""

    fields = (
        ("encap_type", "H"),
        ("encap_sport", ">H"),
        ("encap_dport", ">H"),
        ("__pad", "2x"),
        ("encap_oa", Address),
    )


class ReplayState(Structure):
    """struct xfrm_replay_state."""

    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class ReplayStateEsn(Structure):
    """struct xfrm_replay_state_esn, without the bitmap that follows it."""

    fields = (
        ("bmp_len", "I"),
        ("oseq", "I"),
        ("seq", "I"),
        ("oseq_hi", "I"),
        ("seq_hi", "I"),
        ("replay_window", "I"),
    )


class Mark(Structure):
    """struct xfrm_mark."""

    fields = (("v", "I"), ("m", "I"))


class Algorithm(Structure):
    """struct xfrm_algo, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class AuthAlgorithm(Structure):
    """struct xfrm_algo_auth, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_trunc_len", "I"))


class AeadAlgorithm(Structure):
    """struct xfrm_algo_aead, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_icv_len", "I"))


class PolicyType(Structure):
    """struct xfrm_userpolicy_type."""

    fields = (
        ("type", "B"),
        ("__pad0", "x"),
        ("reserved1", "H"),
        ("reserved2", "B"),
        ("__pad1", "x"),
    )


class AddressFilter(Structure):
    """struct xfrm_address_filter."""

    fields = (
        ("saddr", Address),
        ("daddr", Address),
        ("family", "H"),
        ("splen", "B"),
        ("dplen", "B"),
    )
