"""The playbook on bare, booted Debian hosts: `make test-provision`. Needs root; takes some minutes.

Not collected by a bare pytest run. SUITE=trixie takes Debian 13.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.provision.hosts import REPOSITORY, TOOLS, Host, Network, wheelhouse
from tests.rig.parts import LEDGER, require_root
from tests.rig.processes import until

ANSIBLE = REPOSITORY / "deploy" / "ansible"
CENTRE = "command-centre"
SITES = ("simpang-lima", "tugu-muda")
pytestmark = pytest.mark.timeout(1800)


class Controller:
    """Runs the playbook against the hosts; `recap` tells per host what the last run did, `output` what all said."""

    def __init__(self, network: Network, inventory: Path) -> None:
        self._network, self._inventory = network, inventory
        self.recap: dict[str, dict[str, int]] = {}
        self.output = ""

    def play(self, *arguments: str) -> float:
        """The playbook has run without a failure; the seconds that it took."""
        begun = time.monotonic()
        command = [
            "setpriv", "--pdeathsig", "TERM", *self._network.inside,
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"--inventory={self._inventory}", "site.yml", *arguments,
        ]  # fmt: skip
        # Connections are shared by address, and another trial has the same addresses.
        environment = os.environ | {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._network.folder / "ssh")}
        done = subprocess.run(
            command,
            cwd=ANSIBLE,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=1500,
        )
        self.output += done.stdout + done.stderr
        self.recap = {
            match[1]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match[2])}
            for match in re.finditer(r"^(\S+) +: (ok=.*)$", done.stdout, re.MULTILINE)
        }
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_root()
    missing = [package for program, package in TOOLS.items() if not shutil.which(program)]
    assert not missing, f"apt-get install {' '.join(missing)}"
    # A polite kill, too, leaves nothing behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Network(tmp_path_factory.mktemp("hosts")) as made:
        yield made
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def controller(network: Network) -> Controller:
    """Hosts as Debian's installer leaves them, and an inventory that names them."""
    suite = os.environ.get("SUITE", "bookworm")
    for name in (CENTRE, *SITES):
        network.host(name, suite)
    version = network.hosts[CENTRE].run("cat", "/etc/debian_version").strip()
    LEDGER.note("provisioned host", f"Debian {version} with systemd")
    return Controller(network, write_inventory(network, wheelhouse(suite)))


def write_inventory(network: Network, wheels: Path) -> Path:
    """The example's group variables with the hosts of this network."""
    inventory = network.folder / "inventory"
    shutil.copytree(ANSIBLE / "inventory/example/group_vars", inventory / "group_vars")
    centre = network.hosts[CENTRE].address
    everybody = {
        "ansible_user": "root",
        "ansible_ssh_common_args": " ".join(network.ssh_options),
        "central_wheelhouse": str(wheels),
        "edge_agent_wheelhouse": str(wheels),
    }
    every_site = {
        "edge_agent_centre": {"url": f"http://{centre}:8700"},
        "edge_agent_broker": {"host": centre},
        "edge_agent_cameras": [{"id": "north", "source": "scene"}],
        "edge_agent_latitude": -6.99,
        "edge_agent_longitude": 110.42,
    }
    sites = {site: {"ansible_host": network.hosts[site].address, **every_site} for site in SITES}
    table = {
        "centre": {"hosts": {CENTRE: {"ansible_host": centre, **everybody}}},
        "sites": {"hosts": {site: {**of_site, **everybody} for site, of_site in sites.items()}},
    }
    (inventory / "hosts.yml").write_text(yaml.safe_dump(table))
    return inventory


def completeness(centre: Host) -> dict[str, float]:
    """Seconds of footage per site, as the centre counts them."""
    said = centre.run(
        "runuser", "-u", "simpang-central", "--", "/opt/simpang/central/current/bin/central",
        "completeness", "--json", "--config", "/etc/simpang/central.toml",
    )  # fmt: skip
    recorded: dict[str, float] = {}
    for row in json.loads(said)["rows"]:
        recorded[row["site"]] = recorded.get(row["site"], 0) + row["recorded_s"]
    return recorded


def await_footage(centre: Host, more_than: dict[str, float]) -> dict[str, float]:
    """What the centre has, once it has more of each site than that."""

    def seconds() -> dict[str, float]:
        now = completeness(centre)
        return now if all(now.get(site, 0) > more_than.get(site, 0) for site in SITES) else {}

    return until(seconds, 90, f"more footage than {more_than} at the centre", every_s=1)


def changed(controller: Controller) -> dict[str, int]:
    """How much the last run changed, per host."""
    assert set(controller.recap) == {CENTRE, *SITES}
    return {host: did["changed"] for host, did in controller.recap.items()}


def token(host: Host) -> str:
    match = re.search(r'(?m)^token = "([^"]+)"$', host.run("cat", "/etc/simpang/edge-agent.toml"))
    assert match
    return match[1]


def test_one_command_turns_bare_hosts_into_a_city(controller: Controller, network: Network) -> None:
    seconds = controller.play("-vvv", "--diff")
    LEDGER.note("first run of the playbook", f"{seconds:.0f} s, {changed(controller)}")
    await_footage(network.hosts[CENTRE], {})


def test_a_second_run_changes_nothing(controller: Controller) -> None:
    seconds = controller.play()
    LEDGER.note("second run of the playbook", f"{seconds:.0f} s, {changed(controller)}")
    assert set(changed(controller).values()) == {0}


def test_a_dry_run_has_nothing_to_do(controller: Controller) -> None:
    controller.play("--check", "--diff")
    assert set(changed(controller).values()) == {0}


def test_tokens_are_at_the_sites_and_nowhere_else(controller: Controller, network: Network) -> None:
    tokens = [token(network.hosts[site]) for site in SITES]
    assert len(set(tokens)) == len(SITES)
    for host in network.hosts.values():
        log = host.run("journalctl", "--no-pager", "--output=cat")
        assert not any(secret in log for secret in tokens), host.name
        mode = host.run("sh", "-c", "'stat -c %U:%G:%a /etc/simpang/*.toml'").strip()
        assert mode == ("root:simpang-central:640" if host.name == CENTRE else "root:simpang:640")
    assert not any(secret in controller.output for secret in tokens)
    for secret in tokens:
        searched = network.hosts[CENTRE].try_run("grep", "-rlF", secret, "/etc", "/opt", "/var")
        assert (searched.returncode, searched.stdout) == (1, "")


def test_services_return_after_the_power_was_cut(network: Network) -> None:
    centre = network.hosts[CENTRE]
    before = await_footage(centre, {})
    for host in network.hosts.values():
        host.cut_power()
    for host in network.hosts.values():
        host.boot()
    # More than what may have waited at the sites when the power was cut.
    await_footage(centre, {site: seconds + 15 for site, seconds in before.items()})


def test_the_services_are_fenced_in(network: Network) -> None:
    for host, unit in ((CENTRE, "central"), (SITES[0], "edge-agent")):
        said = network.hosts[host].run("systemd-analyze", "security", "--no-pager", f"{unit}.service")
        match = re.search(r"Overall exposure level for .*: ([\d.]+) (\w+)", said)
        assert match, said
        LEDGER.note("exposure by systemd-analyze", f"{unit}.service {match[1]} {match[2]}")
        assert float(match[1]) < 2.5
