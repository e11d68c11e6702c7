"""Bare Debian hosts for the playbook: each boots systemd on a root folder of its own, in a network of their own.

What they take from Debian and from the Python index is fetched once, through the clients and the configuration of this
machine, and kept; the hosts themselves reach nothing but each other. PROVISION_DIR says where it is kept.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from tests.rig.processes import until

REPOSITORY: Final = Path(__file__).parents[2]
CACHE: Final = Path(
    os.environ.get("PROVISION_DIR")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simpang-provision"
)
BARE: Final = "systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,ca-certificates,procps"
"""What a Debian installed over the network has, as far as ssh and Ansible need it."""
INSTALLED_BY_THE_PLAY: Final = ("chrony", "mosquitto", "python3-venv")
TOOLS: Final = {
    "debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "ssh": "openssh-client", "ip": "iproute2",
}  # fmt: skip
"""What this needs on the machine: program and Debian package."""
_BRIDGE: Final = "switch"
_GATEWAY: Final = "10.99.1.254"
_OF_THIS_MACHINE: Final = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


def bare_root(suite: str) -> Path:
    """The root folder of a bare Debian, with the packages that the play asks for in apt's cache."""
    root = CACHE / suite / sha256(f"{BARE} {INSTALLED_BY_THE_PLAY}".encode()).hexdigest()[:12]
    if not root.is_dir():
        scratch = _scratch(root)
        mirror = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
            check=True, capture_output=True, text=True,
        ).stdout.split()[0]  # fmt: skip
        _run("debootstrap", "--variant=minbase", f"--include={BARE}", suite, scratch, mirror)
        _inside(scratch, "apt-get", "-qq", "update")
        _inside(scratch, "apt-get", "-qq", "-y", "install", "--download-only", "--no-install-recommends",
                *INSTALLED_BY_THE_PLAY)  # fmt: skip
        scratch.rename(root)
    return root


def wheelhouse(suite: str) -> Path:
    """A folder with the locked wheels of agent and centre for the Python of that Debian."""
    lock = REPOSITORY / "requirements" / "central.lock"
    folder = CACHE / suite / f"wheels-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        scratch, root = _scratch(folder), _scratch(CACHE / suite / "fetching")
        scratch.mkdir()
        _run("cp", "-a", bare_root(suite), root)
        _inside(root, "apt-get", "-qq", "-y", "install", "--no-install-recommends", "python3-venv")
        shutil.copy(lock, root / "srv")
        _inside(root, "python3", "-m", "venv", "/srv/venv")
        fetch = ["-m", "pip", "download", "--quiet", "--only-binary=:all:", "--require-hashes"]
        _inside(root, "/srv/venv/bin/python", *fetch, "--dest=/mnt", "-r", "/srv/central.lock", bind=scratch)
        shutil.rmtree(root)
        scratch.rename(folder)
    return folder


def _scratch(target: Path) -> Path:
    scratch = target.with_name(f"{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    return scratch


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    words = f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, words
    return done.stdout


def _inside(root: Path, *command: str, bind: Path | None = None) -> None:
    """The command has run in the root folder, not booted, on the network of this machine and with its indexes."""
    shared = [f"--bind-ro={path}" for path in _OF_THIS_MACHINE if Path(path).exists()]
    if bind:
        shared.append(f"--bind={bind}:/mnt")
    _run(*_NSPAWN, "--pipe", "--resolv-conf=copy-host", f"--directory={root}", *shared, *command)


_NSPAWN: Final = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--timezone=off")


@dataclass
class Host:
    """One Debian that boots; `address` is where it is in the network of the hosts."""

    name: str
    address: str
    root: Path
    network: Network
    log: Path
    _nspawn: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def boot(self) -> None:
        """It takes ssh logins."""
        command = [
            *_NSPAWN, "--boot", "--console=pipe", "--resolv-conf=off", f"--directory={self.root}",
            f"--machine={self.name}-{self.network.tag}", f"--network-bridge={_BRIDGE}",
            # Reading the quality of the clock is allowed to everybody on a real host.
            "--system-call-filter=adjtimex clock_adjtime",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.network.inside, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(lambda: self.try_run("true").returncode == 0, 60, f"{self.name} takes logins, see {self.log}")

    def cut_power(self) -> None:
        """It is off from one moment to the next: its first process is killed, and with it all others."""
        if self._nspawn is None:
            return
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children or [str(self._nspawn.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self._nspawn.wait(20)
        self._nspawn = None

    @property
    def running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """The command's end, over ssh as root; 255 when the host cannot be reached."""
        ssh = [*self.network.inside, "ssh", *self.network.ssh_options, f"root@{self.address}", "--", *command]
        return subprocess.run(ssh, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)

    def run(self, *command: str) -> str:
        """What the command says on stdout, over ssh as root."""
        done = self.try_run(*command)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)} ended with {done.returncode}: {done.stderr}"
        return done.stdout


class Network:
    """A network without a way out, and the hosts on it; leaving the context ends the hosts and removes all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = secrets.token_hex(2)
        self.hosts: dict[str, Host] = {}
        self._name = f"simpang-provision-{self.tag}"
        self.key = folder / "key"

    @property
    def inside(self) -> list[str]:
        """What a command begins with to run in this network, on this machine."""
        return ["nsenter", f"--net=/run/netns/{self._name}", "--"]

    @property
    def ssh_options(self) -> list[str]:
        options = ("BatchMode=yes", "ConnectTimeout=2", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        return ["-q", "-i", str(self.key), *(word for option in options for word in ("-o", option))]

    def host(self, name: str, suite: str) -> Host:
        """A bare host that has just been booted for the first time."""
        root = self.folder / name
        _run("cp", "-a", bare_root(suite), root)
        address = f"10.99.1.{len(self.hosts) + 1}"
        (root / "etc/hostname").write_text(f"{name}\n")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        (root / "etc/machine-id").write_text("")
        (root / "etc/systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={address}/24\nGateway={_GATEWAY}\nLinkLocalAddressing=no\n"
        )
        _write(root / "root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text())
        # The package lists count as fresh, so that nothing asks a mirror.
        _write(root / "var/lib/apt/periodic/update-success-stamp", "")
        _run("systemctl", f"--root={root}", "enable", "systemd-networkd", "ssh")
        host = Host(name, address, root, self, self.folder / f"{name}.console")
        self.hosts[name] = host
        host.boot()
        return host

    def __enter__(self) -> Self:
        try:
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
            _run("ip", "netns", "add", self._name)
            for words in (
                f"link add {_BRIDGE} type bridge", f"address add {_GATEWAY}/24 dev {_BRIDGE}",
                f"link set {_BRIDGE} up", "link set lo up",
            ):  # fmt: skip
                _run("ip", "-n", self._name, *words.split())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.cut_power()
        subprocess.run(["ip", "netns", "delete", self._name], check=False, capture_output=True)
        for host in self.hosts.values():
            shutil.rmtree(host.root, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text)
