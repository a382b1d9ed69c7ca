"""The daemon: the only place where all components meet. Start, reload, stop in a written order.

Start: lock; bus; plugins found; loggers and kernel backends registered; processor and scheduler;
sockets; kernel interface; credentials, backends, EAP, attributes; IKE_SA manager; controller,
receiver; plugins loaded; pid file; privileges dropped; threads started. Stop is the reverse.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from charon_core import __version__
from charon_core.attributes.setup import make_manager
from charon_core.bus.alert import AlertKind
from charon_core.bus.bus import Bus
from charon_core.bus.listener import Group, Level
from charon_core.bus.text import Multiline
from charon_core.component_settings import (
    backend_options,
    by_priority,
    ike_parameters,
    receiver_limits,
    socket_config,
)
from charon_core.config.backend import BackendManager
from charon_core.control.controller import Controller
from charon_core.control.jobs import Oblivion, Renew, Termination
from charon_core.control.paths import PathFinder
from charon_core.control.resolver import Resolver
from charon_core.control.routing import Routing, TrapInitiation
from charon_core.credentials.manager import CredentialManager
from charon_core.crypto.random import SystemRandom
from charon_core.eap.registry import EapRegistry
from charon_core.exit_codes import ExitCode
from charon_core.janitor import Janitor
from charon_core.kernel.backends import BackendRegistry
from charon_core.kernel.interface import BackendContext, KernelError, KernelUnavailable
from charon_core.kernel.manager import KernelInterface
from charon_core.lasting_secret import lasting_secret
from charon_core.network.receiver import Receiver
from charon_core.network.sender import Sender
from charon_core.network.socket import IkeSockets, NetworkError
from charon_core.plugin.facade import Daemon as Facade
from charon_core.plugin.loader import PluginHost
from charon_core.privileges import (
    Account,
    PrivilegesError,
    check_imports,
    drop_privileges,
    find_account,
)
from charon_core.process import (
    AlreadyRunning,
    InstanceLock,
    PidFile,
    request_stop,
    take_signals,
    wait_for_signals,
)
from charon_core.processing.job import CallbackJob, Job, Priority
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import Scheduler
from charon_core.processing.watchdog import Watchdog
from charon_core.sa.crash_detection import SECRET_LENGTH, CrashTokens
from charon_core.sa.environment import Environment, TimerKind
from charon_core.sa.jobs import ProcessMessage, TimerDue
from charon_core.sa.kernel_events import KernelEventHandler
from charon_core.sa.manager import IkeSaManager
from charon_core.sa.shunts import ShuntManager
from charon_core.sa.traps import TrapManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.credentials.online.service import RevocationService
    from charon_core.encoding.header import Header
    from charon_core.kernel.interface import NetBackend
    from charon_core.network.packet import Packet
    from charon_core.processing.metrics import BusyJob
    from charon_core.processing.scheduler import Timer
    from charon_core.settings import Overrides, Paths, Settings

_LIST_INTERVAL: Final = 60.0
"""Seconds between two looks at which revocation lists expire soon."""
_QUIET: Final = 0.5
"""Seconds after the start until what can wait is done."""


class StartError(Exception):
    """The daemon cannot start; carries the exit code."""

    def __init__(self, code: ExitCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Daemon:
    """One daemon with all its components. `start` and `stop` are called once each."""

    def __init__(self, settings: Settings, paths: Paths, overrides: Overrides) -> None:
        """Take the settings; nothing is opened yet."""
        self._given = settings
        self._overrides = overrides
        self._paths = paths
        self._settings = overrides.apply(settings)
        self._stop = ExitStack()
        # What comes last at the stop, only before the lock is given back.
        self._last = ExitStack()
        self._started = time.time()
        self._has_log = False
        self.bus = Bus()
        self.host = PluginHost(self._settings, self._say_of(Group.DMN))

    # -- start --------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring everything up, or leave nothing behind.

        Raises:
            StartError: A part cannot work; all that was started is stopped again.
        """
        try:
            self._start()
        except StartError as error:
            self._tell_why(error)
            self._stop.close()
            raise
        except BaseException:
            self._stop.close()
            raise

    def _tell_why(self, error: StartError) -> None:
        """Say why there is no start, where the operator looks: under starter only the log is."""
        if self._has_log:
            self._say(Level.AUDIT, "not started: %s", error)
        else:
            from charon_core.last_words import write_to_logs

            write_to_logs(self._settings.log, self._paths, f"not started: {error}")

    def _start(self) -> None:
        settings = self._settings
        self._take_lock()
        account = self._find_account()
        kernel_backends = BackendRegistry()
        self.host.discover()
        self.host.prepare(self.bus, kernel_backends, self._paths)
        self._has_log = True
        self._say(Level.CONTROL, "starting charon %s", __version__)
        for note in self._overrides.notes:
            self._say(Level.CONTROL, "%s", note)

        self.processor = self._make_processor()
        self.scheduler = Scheduler(self.processor)
        self.sockets = self._open_sockets()
        self.kernel = self._choose_kernel(kernel_backends)
        self.credentials = CredentialManager(
            self._warn, self._make_online if settings.revocation.fetch else None
        )
        self.credentials.cache_lists(settings.revocation.cache_crls)
        self.credentials.look_up_certificates(settings.revocation.hash_and_url)
        self.resolver = Resolver(self.processor.queue, self.scheduler.schedule)
        self.backends = BackendManager(self._warn, self.resolver.known)
        self.eap = EapRegistry()
        self.attributes = make_manager(settings.attributes, self._paths, self._warn)
        self._stop.callback(self.attributes.close)
        paths = PathFinder(self.bus, self.kernel, self.resolver, self._local_port)
        self.sender = Sender(self.sockets, self.bus, settings.network.send_backlog)
        child_ids = itertools.count(1)
        traps = self._make_traps(paths, child_ids)
        self.manager = self._make_manager(paths, traps, child_ids)
        self.kernel.add_listener(
            KernelEventHandler(self.manager, self.bus, self.processor.queue, traps)
        )
        routing = Routing(
            ShuntManager(self.kernel, self.bus),
            traps,
            paths,
            self.bus,
            features=self.kernel.features,
        )
        self.controller = Controller(
            self.manager,
            self.bus,
            paths,
            self.processor.queue,
            self.scheduler.schedule,
            routing=routing,
        )
        self.receiver = Receiver(
            self.sockets,
            self.sender,
            self._dispatch,
            half_open=self.manager.strangers,
            job_load=lambda: self.processor.load,
            bus=self.bus,
            limits=receiver_limits(settings),
        )
        self.host.load(self._facade())
        self._stop.callback(self.host.destroy)
        self._write_pid_file()
        self._drop_privileges(account)
        self._start_threads()
        self._say(Level.CONTROL, "ready after %.0f ms", (time.time() - self._started) * 1000)

    def _take_lock(self) -> None:
        lock = InstanceLock(self._paths.lock_file)
        try:
            lock.acquire()
        except AlreadyRunning as error:
            raise StartError(ExitCode.ALREADY_RUNNING, str(error)) from None
        except OSError as error:
            reason = f"lock file {self._paths.lock_file}: {error.strerror}"
            raise StartError(ExitCode.INITIALISATION_FAILED, reason) from None
        self._stop.callback(lock.release)
        self._stop.callback(self._last.close)

    def _write_pid_file(self) -> None:
        """Say that control sockets are open: who connects now waits for the threads to start."""
        pid_file = PidFile(self._paths.pid_file)
        try:
            pid_file.write()
        except OSError as error:
            reason = f"pid file {self._paths.pid_file}: {error.strerror}"
            raise StartError(ExitCode.INITIALISATION_FAILED, reason) from None
        self._stop.callback(pid_file.remove)

    def _make_processor(self) -> Processor:
        settings = self._settings
        return Processor(
            settings.charon.threads,
            reserved=by_priority(settings.processor.reserved),
            limits=by_priority(settings.processor.limits),
            on_failure=self._job_failed,
            on_refusal=self._job_refused,
            on_notice=lambda text: self.bus.log(Group.JOB, Level.MORE, "%s", text),
        )

    def _open_sockets(self) -> IkeSockets:
        sockets = IkeSockets(socket_config(self._settings), self.bus)
        try:
            sockets.open()
        except NetworkError as error:
            raise StartError(ExitCode.SOCKET_FAILED, str(error)) from None
        self._stop.callback(sockets.close)
        return sockets

    def _local_port(self, natt: bool) -> int:
        return self.sockets.ports.nat_t if natt else self.sockets.ports.ike

    def _choose_kernel(self, registry: BackendRegistry) -> KernelInterface:
        settings = self._settings.kernel
        context = BackendContext(
            run_loop=self.processor.run_loop,
            after=self._after,
            log=self._say_of(Group.KNL),
            random=SystemRandom(),
            options=backend_options(self._settings),
            spi_range=(settings.spi_min, settings.spi_max),
            esp_socket=self.sockets,
            later=self._later,
        )
        try:
            selection = registry.select(settings.backend, context)
        except KernelUnavailable as error:
            raise StartError(ExitCode.NO_KERNEL_BACKEND, str(error)) from None
        self.bus.log(Group.KNL, Level.CONTROL, "%s", selection)
        kernel = KernelInterface(
            selection.backend,
            self._make_net(context),
            self._say_of(Group.KNL),
            install_routes=settings.install_routes,
        )
        try:
            for handle in self.sockets.handles:
                kernel.bypass_socket(handle.fd, handle.family)
                if handle.is_nat_t:
                    kernel.enable_udp_encapsulation(handle.fd, handle.family)
        except KernelError as error:
            raise StartError(ExitCode.NO_KERNEL_BACKEND, str(error)) from None
        return kernel

    def _make_net(self, context: BackendContext) -> NetBackend:
        from charon_core.kernel.net import RtnetlinkNet

        settings = self._settings.kernel
        return RtnetlinkNet(
            context,
            table=settings.table,
            rule_priority=settings.priority,
            roam_delay=settings.roam_delay,
        )

    def _make_traps(self, paths: PathFinder, child_ids: Iterator[int]) -> TrapManager:
        return TrapManager(
            self.kernel,
            self.bus,
            initiate=lambda demand: self.processor.queue(
                TrapInitiation(self.manager, paths, demand)
            ),
            after=self._after,
            clock=time.monotonic,
            number=child_ids.__next__,
        )

    def _make_manager(
        self, paths: PathFinder, traps: TrapManager, child_ids: Iterator[int]
    ) -> IkeSaManager:
        ike = self._settings.ike
        env = Environment(
            bus=self.bus,
            backends=self.backends,
            credentials=self.credentials,
            kernel=self.kernel,
            attributes=self.attributes,
            eap=self.eap,
            random=SystemRandom(),
            parameters=ike_parameters(self._settings),
            send=self.sender.send,
            keepalive=self.sender.send_keepalive,
            start_timer=self._start_timer,
            clock=time.monotonic,
            wall_clock=time.time,
            local_port=self._local_port,
            new_spi=lambda: self.manager.new_spi(),  # noqa: PLW0108 - it is made below
            reindex=lambda ike: self.manager.reindex(ike),  # noqa: PLW0108
            make_successor=lambda *args: self.manager.make_successor(*args),  # noqa: PLW0108
            borrow=lambda number: self.manager.borrow(number),  # noqa: PLW0108
            renew=lambda renewal: self.processor.queue(Renew(self.manager, paths, renewal)),
            retire=lambda number: self.processor.queue(Termination(self.manager, ike=number)),
            forget=lambda number: self.processor.queue(Oblivion(self.manager, ike=number)),
            hold=traps.hold,
            remote_endpoint=paths.find_known,
            child_ids=child_ids,
            crash_tokens=self._crash_tokens() if ike.crash_detection else None,
        )
        return IkeSaManager(
            env, spi_bits=ike.spi_bits, spi_value=ike.spi_value, limit=ike.ikesa_limit
        )

    def _crash_tokens(self) -> CrashTokens | None:
        try:
            return CrashTokens(lasting_secret(self._paths.crash_secret, SECRET_LENGTH))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._say(
                Level.CONTROL,
                "no quick crash detection: %s: %s; set paths.crash_secret, or ike.crash_detection "
                "to false", self._paths.crash_secret, reason,
            )  # fmt: skip
            return None

    def _make_online(self) -> RevocationService:
        from charon_core.credentials.online.assembly import Surroundings, assemble

        settings = self._settings
        surroundings = Surroundings(
            self.processor.queue, settings.charon.threads, self._paths.crl_cache, self._warn
        )
        return assemble(settings.revocation, self.credentials, surroundings)

    def _refresh_lists(self) -> None:
        """Have revocation lists fetched before they expire; comes again by itself."""
        online = self.credentials.online_in_use
        if online is not None:
            online.refresh_lists()
        job = CallbackJob("refresh revocation lists", self._refresh_lists, Priority.LOW)
        self.scheduler.schedule(job, _LIST_INTERVAL)

    def _facade(self) -> Facade:
        return Facade(
            settings=self._settings.plugins.table("charon"),
            core=self._settings,
            paths=self._paths,
            processor=self.processor,
            scheduler=self.scheduler,
            controller=self.controller,
            bus=self.bus,
            backends=self.backends,
            credentials=self.credentials,
            eap=self.eap,
            attributes=self.attributes,
            kernel=self.kernel,
            resolver=self.resolver,
            plugins=self.host.plugins,
            reload=self.reload,
            stop=request_stop,
            set_log_level=lambda group, level: self.host.set_log_level(self.bus, group, level),
            started=self._started,
            version=__version__,
        )

    def _find_account(self) -> Account | None:
        process = self._settings.charon
        try:
            return find_account(process.user, process.group)
        except PrivilegesError as error:
            raise self._privileges_refused(error) from None

    def _drop_privileges(self, account: Account | None) -> None:
        if account is None:
            return
        self.host.give_logs_to(account.uid, account.gid)
        if account.user:
            self._engage_janitor(account)
        try:
            drop_privileges(account, for_good=self._settings.charon.no_new_privileges)
            if account.user:
                check_imports(account.user)
        except PrivilegesError as error:
            raise self._privileges_refused(error) from None

    def _engage_janitor(self, account: Account) -> None:
        """Keep somebody who can remove what lies in folders of root."""
        paths = self._paths
        sockets = (paths.control_socket, paths.xml_socket)
        # A socket that is not the user's is none that our plugins have made.
        ours = [path for path in sockets if path.exists() and path.stat().st_uid == account.uid]
        janitor = Janitor((paths.pid_file, *ours))
        try:
            janitor.engage()
        except OSError as error:
            self._say(
                Level.CONTROL,
                "pid file and control sockets will be left behind at the stop: %s", error.strerror,
            )  # fmt: skip
        self._last.callback(janitor.clean)

    def _privileges_refused(self, error: PrivilegesError) -> StartError:
        from charon_core.settings.reader import problem_at

        problem = problem_at(self._paths.settings, ("charon", error.key), str(error))
        return StartError(ExitCode.INITIALISATION_FAILED, str(problem))

    def _start_threads(self) -> None:
        """Start kernel, timers, receiver and workers; from here on the daemon acts."""
        try:
            self.kernel.start()
        except (KernelError, KernelUnavailable) as error:
            raise StartError(ExitCode.NO_KERNEL_BACKEND, str(error)) from None
        self._stop.callback(self.kernel.stop)
        self.scheduler.start()
        if self._settings.revocation.refresh:
            self._refresh_lists()
        self.receiver.start(self.processor)
        watchdog = Watchdog(self.processor, self._report_busy, self._settings.watchdog.busy)
        if self._settings.watchdog.interval:
            watchdog.start(self.scheduler, self._settings.watchdog.interval)
        self._stop.callback(self._stop_threads, watchdog)
        _settle_garbage_collector()
        self.processor.start()

    # -- while it runs ------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the settings again and have plugins reload; what is established stays up."""
        self.processor.queue(CallbackJob("reload", self._reload, Priority.LOW))

    def _reload(self) -> None:
        from charon_core.settings import SettingsError, load_settings

        self._say(Level.CONTROL, "reloading")
        try:
            settings = load_settings(self._paths.settings, must_exist=False)
        except SettingsError as error:
            self._say(Level.AUDIT, "settings stay as they were: %s", error)
            settings = self._given
        self._given = settings
        self.host.reload(self._overrides.apply(settings))
        self.bus.reconfigure()

    def _dispatch(self, packet: Packet, header: Header) -> None:
        manager = self.manager
        if manager.admit(packet, header) and not self.processor.queue(
            ProcessMessage(manager, packet, header)
        ):
            manager.dismiss(packet, header)

    def _start_timer(self, spi: bytes, kind: TimerKind, argument: int, delay: float) -> Timer:
        return self.scheduler.schedule(TimerDue(self.manager, spi, kind, argument), delay)

    def _after(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        timer = self.scheduler.schedule(
            CallbackJob("kernel timer", function, Priority.HIGH), seconds
        )

        def cancel() -> None:
            timer.cancel()

        return cancel

    def _later(self, name: str, function: Callable[[], None]) -> None:
        # Not at once: who waits for the control socket comes first.
        self.scheduler.schedule(CallbackJob(name, function, Priority.LOW), _QUIET)

    def _job_failed(self, job: Job, error: BaseException) -> None:
        trace = Multiline("".join(traceback.format_exception(error)).rstrip())
        self.bus.log(Group.JOB, Level.AUDIT, "job '%s' failed: %s", job, trace)
        self.bus.alert(
            AlertKind.JOB_FAILURE, f"job '{job}' failed: {type(error).__name__}", job=str(job)
        )

    def _job_refused(self, job: Job, number: int) -> None:
        self.bus.log(
            Group.JOB, Level.CONTROL,
            "job '%s' dropped, its queue is full (%d so far); see processor.limits", job, number,
        )  # fmt: skip

    def _report_busy(self, job: BusyJob, place: str) -> None:
        self.bus.log(
            Group.JOB, Level.AUDIT, "job '%s' is busy for %.1f s, at %s",
            job.name, job.seconds, place,
        )  # fmt: skip
        self.bus.alert(AlertKind.JOB_FAILURE, f"job '{job.name}' is busy", job=job.name)

    def _say(self, level: Level, message: str, *args: object) -> None:
        self.bus.log(Group.DMN, level, message, *args)

    def _say_of(self, group: Group) -> Callable[..., None]:
        def say(level: int, message: str, *args: object) -> None:
            self.bus.log(group, Level(level), message, *args)

        return say

    def _warn(self, text: str) -> None:
        self.bus.log(Group.CFG, Level.CONTROL, "%s", text)

    # -- stop ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Tell peers, and take everything down in the reverse order of the start."""
        self._say(Level.CONTROL, "stopping")
        self._stop.close()

    def _stop_threads(self, watchdog: Watchdog) -> None:
        deadline = time.monotonic() + self._settings.charon.stop_timeout
        watchdog.stop()
        self.manager.shut_down(lambda: time.monotonic() < deadline)
        still = self.processor.stop(max(0.1, deadline - time.monotonic()))
        if still:
            self._say(Level.CONTROL, "stopping without waiting for: %s", ", ".join(still))


def run(settings: Settings, paths: Paths, overrides: Overrides) -> int:
    """Run a daemon in the foreground until a signal ends it; returns the exit code."""
    take_signals()
    daemon = Daemon(settings, paths, overrides)
    try:
        daemon.start()
    except StartError as error:
        sys.stderr.write(f"charon: not started: {error}\n")
        return error.code
    signal_name = wait_for_signals(daemon.reload)
    daemon.bus.log(Group.DMN, Level.CONTROL, "received %s", signal_name)
    daemon.stop()
    return ExitCode.OK


def _settle_garbage_collector() -> None:
    """Leave what was loaded at start out of collections, and collect less often.

    What a handshake allocates is freed by reference counts, or lives as long as the IKE_SA;
    looking through it at every few hundred objects costs up to a third of the handshake.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
