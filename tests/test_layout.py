"""Rules of the repository that no linter knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("edge_agent/**/*.py"), *ROOT.glob("central/**/*.py")])
LOCKS = sorted(ROOT.glob("requirements/*.lock"))
LOCKED = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>[\w.+!-]+)( ; (?P<marker>.+?))?( \\)?")


def wanted(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for where that lock file is used."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = list(project["project"]["dependencies"])
    if lock != "agent":
        texts += project["project"]["optional-dependencies"]["central"]
    if lock == "dev":
        texts += project["dependency-groups"]["dev"]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_file_holds_every_dependency_at_a_version_that_fits(lock: Path) -> None:
    """When this fails: make lock."""
    found: dict[str, list[str]] = {}
    for line in lock.read_text().splitlines():
        if match := LOCKED.fullmatch(line):
            found.setdefault(canonicalize_name(match["name"]), []).append(match["version"])
    for requirement in wanted(lock.stem):
        versions = found[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_file_names_no_registry(lock: Path) -> None:
    """Where packages come from is the business of the machine's pip configuration."""
    for line in lock.read_text().splitlines():
        assert LOCKED.fullmatch(line) or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize(
    "module", [path for path in MODULES if "core" in path.parts], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_core_does_not_look_at_the_time(module: Path) -> None:
    """datetime is allowed there for values, so the import rules cannot tell."""
    assert not re.search(r"\.(now|utcnow|today)\(", module.read_text())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_read_in_one_sitting(module: Path) -> None:
    """What grows beyond this has two purposes."""
    assert len(module.read_text().splitlines()) <= 650
