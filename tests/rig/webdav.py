"""nginx taking files by WebDAV PUT, each on the disk for good before its answer: a peer of the agent door."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from tests.rig.link import free_port
from tests.rig.parts import require_program
from tests.rig.processes import Program

_CONFIG: Final = """\
daemon off;
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_max_body_size 64m;
  client_body_buffer_size 512k;
  client_body_temp_path {folder}/arriving;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
    location / {{ dav_methods PUT; create_full_put_path on; }}
    location = /healthz {{ return 200; }}
  }}
}}
"""


class DurableWebdav:
    """A server with its files in `folder`, which exists.

    nginx has no setting that flushes a file, so a `rename` that does is preloaded: the file before, its folder after.
    A worker waits for the disk meanwhile, so there are as many workers as the centre has hands.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        nginx, compiler = require_program("nginx"), require_program("gcc")
        self.files = folder / "files"
        self.files.mkdir()
        self.address = ("127.0.0.1", free_port())
        self._preloaded = folder / "durable_rename.so"
        source = Path(__file__).with_name("durable_rename.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self._preloaded, source], check=True)
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, workers=workers, port=self.address[1]))
        log = folder / "nginx.log"
        environment = {"LD_PRELOAD": str(self._preloaded)}
        self.program = Program("nginx", [nginx, "-e", log, "-c", config], log, environment)

    def open(self) -> None:
        """It takes files, durably."""
        self.program.start()
        self.program.until(self._answers, 10, "nginx answers")
        maps = Path(f"/proc/{self.program.pid}/maps").read_text()
        assert str(self._preloaded) in maps, "nginx runs without the rename that flushes"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.address[1]}/healthz", timeout=5):
                return True
        except urllib.error.URLError:
            return False
