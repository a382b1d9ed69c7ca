"""Runs commands on a Debian kernel with ESP, in QEMU without acceleration.

The guest boots Debian's stock kernel (``apt-get download``, kept in a cache folder) into a small
initramfs, mounts the host's root read-only through 9p below a writable overlay in memory, and
runs one command there. So the guest has this machine's programs, this checkout and this
interpreter, may write everywhere, and changes nothing on the host. Results come back through a
second 9p share. In the guest loopback is up, /run and /dev are its own, the IPsec modules are
loaded, and network namespaces work, so several daemons fit into one guest.

A test for the guest is a file ``test_*.py`` in the folder ``guest``: ``test_guest.py`` boots one
guest for each file and runs pytest on it there. ``namespaces.py`` helps with what is inside.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PACKAGES = ("qemu-system-x86", "busybox-static", "kmod", "cpio", "iproute2")
"""Debian packages that the harness needs on the host."""

CHECKOUT = Path(__file__).resolve().parents[2]
IN_GUEST = "CHARON_TEST_GUEST"
"""Environment variable that is set for every command in a guest."""

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Modules of the initramfs; modprobe adds what they depend on."""

GUEST_MODULES = (
    *("xfrm_user", "xfrm_interface", "esp4", "esp6", "ah4", "ah6"),
    *("aesni_intel", "authenc", "echainiv", "seqiv", "gcm", "cbc", "hmac", "sha256"),
    *("veth", "dummy", "tun"),
)
"""Modules that are loaded before the command runs; the kernel asks for others by itself."""

_QEMU = "qemu-system-x86_64"
_TOOLS = {_QEMU: "qemu-system-x86", "busybox": "busybox-static", "modprobe": "kmod", "cpio": "cpio"}
_TAIL = 2000
_POLL_SECONDS = 0.25

_INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sbin /lower /scratch /new
/bin/busybox --install -s /bin
export PATH=/bin
# The kernel looks for modprobe in this root, not in that of the command.
rm -f /sbin/modprobe
printf '#!/bin/sh\nexec chroot /new /sbin/modprobe "$@"\n' > /sbin/modprobe
chmod 755 /sbin/modprobe
mount -t proc proc /proc
for module in $(cat /boot-modules); do insmod "/$module" || echo "cannot load $module"; done
options=trans=virtio,version=9p2000.L,cache=loose,msize=1048576
mount -t 9p -o $options,ro host /lower
mount -t tmpfs -o size=75% scratch /scratch
mkdir /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work overlay /new
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t tmpfs run /new/run
mkdir -p /new/run/guest /new/run/lock /new/lib/modules
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=1048576 exchange /new/run/guest
mount -o bind "/new$(cat /modules-path)" /new/lib/modules
chroot /new /bin/sh /run/guest/start.sh
sync
echo o > /proc/sysrq-trigger
sleep 10
"""

_START = """\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
hostname guest
for module in {modules}; do modprobe "$module" || echo "module $module is missing"; done
ip link set lo up
cd {folder}
{exports}
cut -d' ' -f1 /proc/uptime > /run/guest/boot
{command} < /dev/null > /run/guest/stdout 2> /run/guest/stderr
echo $? > /run/guest/status
"""


class GuestUnavailableError(Exception):
    """The guest cannot be built here; the text says what is missing."""


class GuestTimeoutError(Exception):
    """The guest did not finish in time; has what it wrote until then."""


@dataclass(frozen=True)
class GuestResult:
    """What a command in the guest did; the first four like subprocess.CompletedProcess."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    console: str
    boot_seconds: float
    seconds: float

    def check(self) -> GuestResult:
        """Return itself, or fail with everything that was written."""
        if self.returncode != 0:
            raise AssertionError(f"in the guest {_report(self)}")
        return self


@dataclass(frozen=True)
class GuestKernel:
    """An unpacked kernel package and its initramfs."""

    image: Path
    modules: Path
    initramfs: Path


def skip_reason() -> str | None:
    """Say why no guest can run here; None if one should (the kernel is not yet downloaded)."""
    if os.geteuid() != 0:
        return "the QEMU guest reads the host's root, which needs root"
    missing = sorted(package for tool, package in _TOOLS.items() if shutil.which(tool) is None)
    if missing:
        return f"the QEMU guest needs: apt-get install {' '.join(missing)}"
    if not list(cache_folder().glob("linux-image-*")) and shutil.which("apt-get") is None:
        return "the QEMU guest needs apt-get to download a kernel, or one in its cache folder"
    return None


def cache_folder() -> Path:
    """Where the kernel is kept: $CHARON_TEST_CACHE, or below the user's cache folder."""
    chosen = os.environ.get("CHARON_TEST_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charon-tests"


def run_in_guest(
    argv: Sequence[str],
    *,
    timeout: float = 120.0,
    boot_timeout: float = 120.0,
    env: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
    memory_mib: int = 1024,
    processors: int = 2,
) -> GuestResult:
    """Boot a guest, run one command in it, return what it did.

    Args:
        argv: the command, with paths as on the host.
        timeout: seconds for the command, counted from its start.
        boot_timeout: seconds for what is before: about 10 on an idle machine.
        env: additional environment variables.
        folder: working directory, the checkout by default.
        memory_mib: memory of the guest; what the command writes lives in it.
        processors: virtual processors.

    Raises:
        GuestUnavailableError: the guest could not be built.
        GuestTimeoutError: the guest was killed when its time was up.
    """
    reason = skip_reason()
    if reason:
        raise GuestUnavailableError(reason)
    kernel = prepare_kernel()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="charon-guest-") as exchange_name:
        exchange = Path(exchange_name)
        _write_start(exchange, argv, env or {}, folder)
        command = _qemu_command(kernel, exchange, memory_mib, processors)
        in_time = _run_qemu(command, exchange, boot_timeout, timeout)
        result = _collect(exchange, argv, time.monotonic() - began)
    if not in_time:
        raise GuestTimeoutError(f"not finished after {result.seconds:.0f} s: {_report(result)}")
    return result


def _run_qemu(command: Sequence[str], exchange: Path, boot_timeout: float, timeout: float) -> bool:
    """Run QEMU to its end; kill it, and return False, when one of the two times is up."""
    with (exchange / "qemu").open("wb") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + boot_timeout
        has_booted = False
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return True
            if not has_booted and (exchange / "boot").exists():
                has_booted = True
                deadline = time.monotonic() + timeout
        return False
    finally:
        process.kill()
        process.wait()


def prepare_kernel() -> GuestKernel:
    """Download, unpack and index the kernel, unless that was done before.

    Raises:
        GuestUnavailableError: the package cannot be had.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        unpacked = next(iter(sorted(folder.glob("linux-image-*"))), None)
        if unpacked is None:
            unpacked = _download(folder)
        modules = unpacked / "lib" / "modules"
        release = next(path.name for path in modules.iterdir())
        initramfs = _build_initramfs(unpacked, release)
        return GuestKernel(unpacked / "boot" / f"vmlinuz-{release}", modules, initramfs)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _download(folder: Path) -> Path:
    package = _kernel_package()
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as partial_name:
        partial = Path(partial_name)
        _run(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], partial)
        archive = next(iter(partial.glob("*.deb")))
        tree = partial / "tree"
        _run(["dpkg", "-x", str(archive), str(tree)], partial)
        release = next(path.name for path in (tree / "lib" / "modules").iterdir())
        _run(["depmod", "-b", str(tree), release], partial)
        target = folder / package
        tree.rename(target)
    return target


def _kernel_package() -> str:
    listing = _run(["apt-cache", "depends", "linux-image-amd64"], Path("/"))
    found = re.search(r"Depends: (linux-image-\S+)", listing)
    if found is None:
        raise GuestUnavailableError(
            "apt knows no kernel for linux-image-amd64: run apt-get update, or put an unpacked "
            f"kernel package named linux-image-* into {cache_folder()}"
        )
    return found[1]


def _build_initramfs(unpacked: Path, release: str) -> Path:
    needed = _module_files(unpacked, release)
    recipe = "\n".join((_INIT, *needed, str(unpacked)))
    target = unpacked / f"initramfs-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.gz"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(prefix="charon-initramfs-") as tree_name:
        tree = Path(tree_name)
        (tree / "bin").mkdir()
        shutil.copy2(shutil.which("busybox") or "/bin/busybox", tree / "bin" / "busybox")
        for name in needed:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(unpacked / name, tree / name)
        (tree / "boot-modules").write_text("\n".join(needed) + "\n")
        (tree / "modules-path").write_text(str((unpacked / "lib" / "modules").resolve()) + "\n")
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input=names.encode(),
            cwd=tree,
            capture_output=True,
            check=True,
        ).stdout
    partial = target.with_suffix(".partial")
    partial.write_bytes(gzip.compress(archive, 1))
    partial.rename(target)
    return target


def _module_files(unpacked: Path, release: str) -> list[str]:
    """Paths of the boot modules and all that they need, in loading order."""
    files: list[str] = []
    for module in BOOT_MODULES:
        command = ["modprobe", "-d", str(unpacked), "-S", release, "--show-depends", module]
        for line in _run(command, unpacked).splitlines():
            verb, _, path = line.partition(" ")
            if verb != "insmod":  # "builtin" needs nothing
                continue
            name = str(Path(path.split()[0]).relative_to(unpacked))
            if name not in files:
                files.append(name)
    return files


def _write_start(exchange: Path, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
    # What Python compiles stays in the guest's memory, and the next process finds it there.
    variables = {IN_GUEST: "1", "PYTHONDONTWRITEBYTECODE": "", **env}
    exports = "\n".join(f"export {name}={shlex.quote(text)}" for name, text in variables.items())
    (exchange / "start.sh").write_text(
        _START.format(
            modules=" ".join(GUEST_MODULES),
            folder=shlex.quote(str(folder)),
            exports=exports,
            command=shlex.join(argv),
        )
    )


def _qemu_command(
    kernel: GuestKernel, exchange: Path, memory_mib: int, processors: int
) -> list[str]:
    share = "security_model=none,multidevs=remap"
    return [
        _QEMU,
        *("-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-m", str(memory_mib), "-smp", str(processors)),
        *("-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-serial", f"file:{exchange / 'console'}"),
        *("-kernel", str(kernel.image), "-initrd", str(kernel.initramfs)),
        *("-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"),
        *("-virtfs", f"local,path=/,mount_tag=host,readonly=on,{share}"),
        *("-virtfs", f"local,path={exchange},mount_tag=exchange,{share}"),
    ]


def _collect(exchange: Path, argv: Sequence[str], seconds: float) -> GuestResult:
    def text(name: str) -> str:
        path = exchange / name
        return path.read_text(errors="replace") if path.exists() else ""

    status = text("status").strip()
    return GuestResult(
        args=tuple(argv),
        returncode=int(status) if status else -1,
        stdout=text("stdout"),
        stderr=text("stderr"),
        console=text("qemu") + text("console"),
        boot_seconds=float(text("boot").strip() or "nan"),
        seconds=seconds,
    )


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuestUnavailableError(
            f"{shlex.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def _report(result: GuestResult) -> str:
    return (
        f"{shlex.join(result.args)} gave {result.returncode}\n"
        f"--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}\n"
        f"--- console\n{result.console[-_TAIL:]}"
    )
