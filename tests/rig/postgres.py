"""A real PostgreSQL server in a scratch folder, on a unix socket only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.rig.parts import require_postgresql


class Postgres:
    """A cluster of its own, thrown away at the end. The server refuses to be root, so root runs it as `postgres`."""

    def __init__(self) -> None:
        self._programs = require_postgresql()
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="simpang-pg-", dir="/tmp"))  # sockets want a short path

    def __enter__(self) -> Self:
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb", "--pgdata", self._data, "--username=simpang", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        """It answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--pgdata", self._data, "--wait", "--log", log, "--options", options)

    def stop(self) -> None:
        """It does not answer any more; connections are cut."""
        self._run("pg_ctl", "stop", "--pgdata", self._data, "--wait", "--mode=fast")

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        self._run("createdb", "--host", str(self.folder), "--username=simpang", name)
        return f"postgresql://simpang@/{name}?host={quote(str(self.folder))}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)
        assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"
