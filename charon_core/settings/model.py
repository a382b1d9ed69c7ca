"""Every key of charon.toml: name, type, default, meaning."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the reader looks at the annotations
from dataclasses import dataclass, field

from charon_core.settings import checks
from charon_core.settings.attributes import AttributeSettings
from charon_core.settings.kernel import KernelSettings
from charon_core.settings.log import LogSettings
from charon_core.settings.option import Section, option, section
from charon_core.settings.protocol import IkeSettings, NetworkSettings
from charon_core.settings.revocation import RevocationSettings
from charon_core.settings.table import PluginTable

# The names of `charon_core.processing.job.Priority`; a test compares.
PRIORITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProcessSettings(Section):
    """``[charon]``: the daemon as a process."""

    threads: int = option(
        16,
        "Worker threads for jobs. Long-lived loops have threads of their own.",
        minimum=6,
        maximum=1024,
    )
    user: str = option(
        "",
        "User to become once sockets are open; keeps CAP_NET_ADMIN, CAP_NET_RAW and "
        "CAP_NET_BIND_SERVICE. Empty: stay who we are.",
        check=checks.user_name,
        example='"charon"',
    )
    group: str = option(
        "",
        "Group to become, and group of the control sockets. Empty: the user's group.",
        check=checks.user_name,
        example='"charon"',
    )
    no_new_privileges: bool = option(
        True,
        "With a user: forbid everything that the daemon starts to gain rights, as sudo would. "
        "false: where an updown script needs sudo.",
    )
    stop_timeout: float = option(
        2.0,
        "Longest wait for deletes to be sent and for busy workers at the stop.",
        unit="s",
        minimum=0,
        maximum=60,
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ProcessorSettings(Section):
    """``[processor]``: how workers are shared out."""

    reserved: Mapping[str, int] = option(
        {"high": 1, "medium": 1},
        "Workers that only jobs of this or a higher class may occupy. Classes: "
        + " ".join(PRIORITIES)
        + ".",
        minimum=0,
        maximum=512,
        keys=PRIORITIES,
    )
    limits: Mapping[str, int] = option(
        {"critical": 10_000, "high": 100_000, "medium": 100_000, "low": 100_000},
        "Jobs that may wait in a class; further ones are dropped and counted.",
        minimum=1,
        maximum=100_000_000,
        keys=PRIORITIES,
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WatchdogSettings(Section):
    """``[watchdog]``: who is busy for too long."""

    interval: float = option(
        5.0, "How often workers are looked at. 0: never.", unit="s", minimum=0, maximum=3600
    )
    busy: float = option(
        10.0, "A job that runs for longer is named in the log.", unit="s", minimum=0.1, maximum=3600
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PathSettings(Section):
    """``[paths]``: files and sockets. ``--root DIR`` puts DIR before each of them."""

    ipsec_conf: str = option(
        "/etc/ipsec.conf",
        "Connections, as stroke and starter read them.",
        check=checks.absolute_path,
    )
    ipsec_secrets: str = option(
        "/etc/ipsec.secrets", "Secrets and private keys.", check=checks.absolute_path
    )
    ipsec_d: str = option(
        "/etc/ipsec.d", "Folder of certificates and keys.", check=checks.absolute_path
    )
    crl_cache: str = option(
        "/etc/ipsec.d/crls",
        "Folder that CRLs which were fetched are kept in (see revocation.cache_crls).",
        check=checks.absolute_path,
    )
    control_socket: str = option(
        "/var/run/charon.ctl", "Control socket of stroke.", check=checks.absolute_path
    )
    xml_socket: str = option(
        "/var/run/charon.xml", "Control socket of smp.", check=checks.absolute_path
    )
    pid_file: str = option(
        "/var/run/charon.pid",
        "Process ID of the daemon; exists once it is ready.",
        check=checks.absolute_path,
    )
    lock_file: str = option(
        "/var/run/charon.lock",
        "Held by the daemon against a second one.",
        check=checks.absolute_path,
    )
    crash_secret: str = option(
        "/var/lib/charon/crash.secret",
        "The secret that outlives the daemon, for ike.crash_detection.",
        check=checks.absolute_path,
    )
    verdicts: str = option(
        "/var/run/charon.verdicts",
        "What went wrong last, by peer, for `charon explain`.",
        check=checks.absolute_path,
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PluginSettings(Section):
    """``[plugins]``: what loads; ``[plugins.NAME]`` is handed to the plugin of that name."""

    load: tuple[str, ...] = option(
        (),
        "Plugins to load beside those of charon-core, in this order. Empty: all installed ones, "
        "for a daemon of root only those of distributions named charon-*.",
        example='["stroke"]',
    )
    block: tuple[str, ...] = option(
        (), "Plugins not to load, those of charon-core included.", example='["sql"]'
    )
    tables: Mapping[str, PluginTable] = field(default_factory=dict)

    def table(self, name: str) -> PluginTable:
        """Return the plugin's own table, empty if the file has none."""
        found = self.tables.get(name.replace("-", "_")) or self.tables.get(name.replace("_", "-"))
        return found if found is not None else PluginTable(prefix=("plugins", name))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Settings(Section):
    """All settings; ``Settings()`` is what an empty file means."""

    charon: ProcessSettings = section(ProcessSettings, "The daemon as a process")
    network: NetworkSettings = section(NetworkSettings, "The IKE sockets")
    ike: IkeSettings = section(IkeSettings, "Times and limits of the protocol")
    kernel: KernelSettings = section(KernelSettings, "Who encrypts the traffic")
    attributes: AttributeSettings = section(
        AttributeSettings, "Virtual addresses, name servers and the like, from peers and for them"
    )
    revocation: RevocationSettings = section(
        RevocationSettings, "What is asked of servers about certificates"
    )
    log: LogSettings = section(LogSettings, "Where log lines go")
    plugins: PluginSettings = section(PluginSettings, "What loads, and the plugins' own tables")
    paths: PathSettings = section(PathSettings, "Files and sockets; --root DIR moves all of them")
    processor: ProcessorSettings = section(ProcessorSettings, "How workers are shared out")
    watchdog: WatchdogSettings = section(WatchdogSettings, "Who is busy for too long")
