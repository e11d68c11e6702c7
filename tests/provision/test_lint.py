"""What can be said of the playbook without a host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ANSIBLE = Path(__file__).parents[2] / "deploy" / "ansible"
ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
BIN = Path(sys.executable).parent


def ansible(*command: str, home: Path) -> str:
    """What the command said, on both streams; it has succeeded."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_HOME": str(home), "NO_COLOR": "1"}
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_ansible_lint_finds_nothing_by_its_strictest_profile(tmp_path: Path) -> None:
    assert "'production' was required, and it passed" in ansible("ansible-lint", home=tmp_path)


def test_the_example_inventory_fits_the_playbook(tmp_path: Path) -> None:
    inventory = "--inventory=inventory/example"
    ansible("ansible-playbook", inventory, "site.yml", "--syntax-check", home=tmp_path)
    listed = ansible("ansible-playbook", inventory, "site.yml", "--list-hosts", home=tmp_path)
    assert "hosts (3)" in listed
    assert "hosts (1)" in listed
    assert "hosts (2)" in listed


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_of_a_role_is_described_and_named_after_it(role: Path) -> None:
    def table(path: str) -> dict[str, Any]:
        return (yaml.safe_load((role / path).read_text()) or {}) if (role / path).exists() else {}

    options = table("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = table("defaults/main.yml")
    assert {name for name in defaults if name not in options} == set(), "in defaults, not described"
    free = {name for name, option in options.items() if name not in defaults and not option.get("required")}
    assert free == set(), "described, neither required nor with a default"
    for name in (*options, *defaults, *table("vars/main.yml")):
        assert name.startswith(f"{role.name}_")
    for name, option in options.items():
        assert option["description"].endswith("."), name
        assert option["type"], name
