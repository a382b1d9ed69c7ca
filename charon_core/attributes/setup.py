"""Makes the manager of attributes that a daemon has by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.attributes.manager import AttributeManager
from charon_core.attributes.resolv_conf import ResolvConf, ResolvconfProgram
from charon_core.attributes.static import StaticAttributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.settings import AttributeSettings, Paths


def make_manager(
    settings: AttributeSettings, paths: Paths, report: Callable[[str], None]
) -> AttributeManager:
    """Return a manager with the pools in memory, the attributes of the settings, and name servers.

    Below a root of its own a daemon does not touch what is the host's: `resolvconf` is only
    called by one without.
    """
    manager = AttributeManager(report)
    if settings.dns or settings.nbns or settings.subnets or settings.domains:
        manager.add_provider(
            StaticAttributes(
                dns=settings.dns,
                nbns=settings.nbns,
                subnets=settings.subnets,
                domains=settings.domains,
            )
        )
    program = paths.below_root(settings.resolvconf) if settings.resolvconf else None
    if program is not None and program.exists():
        manager.add_handler(ResolvconfProgram(program, report))
    elif settings.resolv_conf:
        handler = ResolvConf(paths.below_root(settings.resolv_conf), report)
        handler.clean()
        manager.add_handler(handler)
    return manager
