"""Who the daemon is, and what it may do once its sockets are open."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_NET_BIND_SERVICE: Final = 10
_CAP_NET_ADMIN: Final = 12
_CAP_NET_RAW: Final = 13
_KEPT: Final = 1 << _CAP_NET_BIND_SERVICE | 1 << _CAP_NET_ADMIN | 1 << _CAP_NET_RAW


class PrivilegesError(Exception):
    """The daemon cannot become the user that the settings name; `key` is the setting at fault."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the daemon becomes.

    Attributes:
        user: the user's name; empty to stay who we are, and only change the group.
        uid: the user's number.
        gid: the group's number.
    """

    user: str
    uid: int
    gid: int


def find_account(user: str, group: str) -> Account | None:
    """Look up whom the daemon is to become; None to stay.

    Args:
        user: Whom to become; empty to stay.
        group: The group to take on; empty for the user's own.

    Raises:
        PrivilegesError: There is no such user or group.
    """
    if not user and not group:
        return None
    uid, gid = os.getuid(), os.getgid()
    if user:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            raise PrivilegesError(
                "user",
                f"expected the name of a user of this system, got {user!r}; make it (adduser "
                f"--system {user}), or leave the setting empty",
            ) from None
        uid, gid = account.pw_uid, account.pw_gid
    if group:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            raise PrivilegesError(
                "group",
                f"expected the name of a group of this system, got {group!r}; make it (addgroup "
                f"--system {group}), or leave the setting empty",
            ) from None
    return Account(user, uid, gid)


def drop_privileges(account: Account | None, *, for_good: bool = True) -> None:
    """Become another user, with the three capabilities that the daemon needs.

    Called before threads are started: capabilities belong to a thread, and are inherited.

    Args:
        account: Whom to become; None to stay.
        for_good: Whether programs that the daemon starts are kept from gaining rights, too.

    Raises:
        PrivilegesError: We may not become it.
    """
    if account is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    gid, uid = account.gid, account.uid
    try:
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        if account.user:
            if for_good:
                _bound_capabilities(libc, _KEPT)
            os.setresuid(uid, uid, uid)
            _set_capabilities(libc, _KEPT)
            if for_good:
                _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "forbid new privileges")
    except OSError as error:
        raise PrivilegesError(
            "user" if account.user else "group",
            f"cannot take on user {uid}, group {gid}: {error.strerror}; start the daemon as root, "
            "or leave charon.user and charon.group empty",
        ) from None


def check_imports(user: str) -> None:
    """Make sure that modules which load later can be read; as the user who has to read them.

    Raises:
        PrivilegesError: A folder of modules is closed to this user.
    """
    places = {
        Path(file).parent
        for module in list(sys.modules.values())
        if isinstance(file := getattr(module, "__file__", None), str) and Path(file).is_absolute()
    }
    for place in sorted(places):
        if not os.access(place, os.R_OK | os.X_OK):
            raise PrivilegesError(
                "user",
                f"user {user!r} cannot read {place}, from where modules of this program load when "
                "they are needed; let that user read it, or install charon where everybody can "
                "(not below a home of root)",
            )


def _bound_capabilities(libc: ctypes.CDLL, mask: int) -> None:
    """Take from this process, and from all that it starts, what is not in `mask`, for ever."""
    number = 0
    while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if not mask >> number & 1:
            _check(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "bound capabilities")
        number += 1


def _set_capabilities(libc: ctypes.CDLL, mask: int) -> None:
    """Make `mask` all that this thread may do, and all that it can ever regain."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", mask, mask, mask, 0, 0, 0)
    _check(libc.capset(header, data), "set capabilities")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
