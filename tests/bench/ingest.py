"""The agent door beside nginx's WebDAV PUT, on the same disk: how many items per second, at what price.

The centre checks the hash of each item, reads its facts, flushes the object and its folder, files a row and answers
with a receipt. nginx writes the file and flushes it and its folder, and nothing else: that it flushes at all is a
preloaded `rename`, since it has no setting for it. Both are fed by the same threads over as many keep-alive
connections; they take turns, in rounds, so that neither has the machine to itself in a better minute. The first round
warms up and is not counted. What was stored is removed after each round.

Items are whole segments. Two sizes: what a camera sends in 4 s at 4 Mbit/s, and a small one, where the price of a
request shows and not that of bytes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from edge_agent.contract import ITEM_PATH, ItemName, content_digest, facts_box, read_facts
from tests.bench.report import Finding, Row
from tests.rig import clips
from tests.rig.city import City
from tests.rig.parts import require_program
from tests.rig.processes import Program
from tests.rig.segments import make_segment
from tests.rig.webdav import DurableWebdav

ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "4"))
CONNECTIONS: Final = 16
SIZES: Final = {"2 MB": (2_000_000, 400), "50 kB": (50_000, 3000)}
"""By name: bytes of an item, and items of one round."""
TARGET: Final = 0.7
_HANDS: Final = 8
"""How many items the centre makes durable at once."""

_SCRATCH: Final = clips.CACHE.parent / "bench"
"""On the disk of the checkout, since /tmp may be memory, where a flush costs nothing."""


@dataclass
class Server:
    """Whoever takes items: where, with which request, in which processes, and what it has cost so far."""

    address: tuple[str, int]
    head: Callable[[ItemName, int], bytes]
    program: Program
    files: Path
    seconds: float = 0
    cpu_s: float = 0
    items: int = 0
    sender_cpu_s: float = 0

    def take(self, name: ItemName, body: bytes, sequences: Sequence[int], *, counted: bool) -> None:
        """The item arrives once under each of those sequences and is stored."""
        heads = iter([self.head(replace(name, sequence=sequence), len(body)) for sequence in sequences])
        before = self._cpu_s(), time.process_time(), time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for sent in [pool.submit(_send, self.address, heads, body) for _ in range(CONNECTIONS)]:
                sent.result()
        after = self._cpu_s(), time.process_time(), time.monotonic()
        stored = [path for path in self.files.rglob("*.mp4") if path.stat().st_size == len(body)]
        assert len(stored) == len(sequences), f"{self.program.name} stored {len(stored)} of {len(sequences)} items"
        for path in stored:
            path.unlink()
        if counted:
            cpu_s, sender_cpu_s, seconds = (late - early for early, late in zip(before, after, strict=True))
            self.cpu_s += cpu_s
            self.sender_cpu_s += sender_cpu_s
            self.seconds += seconds
            self.items += len(sequences)

    def _cpu_s(self) -> float:
        parent = psutil.Process(self.program.pid)
        return sum(sum(process.cpu_times()[:2]) for process in [parent, *parent.children(recursive=True)])


def measure() -> Finding:
    """The centre and nginx, with each size."""
    nginx = require_program("nginx")
    rows: list[Row] = []
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as name:
        folder = Path(name)
        webdav = DurableWebdav(folder, _HANDS)
        with City(folder / "city") as city, webdav.program:
            city.open_centre()
            webdav.open()
            for size in SIZES:
                rows += _take_turns(size, _centre(city, f"bench{len(city.sites)}"), _nginx(webdav))
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr.split("/")[-1].strip()
    return Finding(
        f"nginx {version} WebDAV PUT with fsync",
        f"{CONNECTIONS} keep-alive connections over loopback, {ROUNDS - 1} rounds each, in turns; nginx has {_HANDS}"
        " workers and a preloaded rename() that flushes file and folder",
        rows,
        ours="the centre",
    )


def _take_turns(size: str, ours: Server, peer: Server) -> Iterator[Row]:
    bytes_each, items = SIZES[size]
    name, body = segment_of(bytes_each)
    for number in range(ROUNDS):
        for server in (ours, peer):
            server.take(name, body, range(number * items, (number + 1) * items), counted=number > 0)
    rate, peer_rate = (server.items / server.seconds for server in (ours, peer))
    yield Row(f"{size}: stored", "items/s", rate, peer_rate, TARGET, more_is_better=True)
    cpu_ms, peer_cpu_ms = (1000 * server.cpu_s / server.items for server in (ours, peer))
    yield Row(f"{size}: processor", "CPU ms per item", cpu_ms, peer_cpu_ms)
    cpu_ms, peer_cpu_ms = (1000 * server.sender_cpu_s / server.items for server in (ours, peer))
    yield Row(f"{size}: processor of whoever sends", "CPU ms per item", cpu_ms, peer_cpu_ms)


def _centre(city: City, site: str) -> Server:
    config = tomllib.loads(city.enrol(site, site, []).config.read_text())
    token = config["centre"]["token"]

    def head(name: ItemName, size: int) -> bytes:
        lines = [f"PUT {ITEM_PATH}{name} HTTP/1.1", "Host: centre", f"Authorization: Bearer {token}"]
        lines += [f"Content-Digest: {content_digest(name.sha256)}", f"Content-Length: {size}"]
        return "\r\n".join([*lines, "", ""]).encode()

    hello = f"GET /agent/v1/hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    city.centre.until(lambda: _asked(city.agent_door, hello.encode()).startswith(b"HTTP/1.1 200"), 10, "the site")
    return Server(city.agent_door, head, city.centre, city.directory / "archive")


def _nginx(webdav: DurableWebdav) -> Server:
    def head(name: ItemName, size: int) -> bytes:
        return f"PUT /items/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()

    return Server(webdav.address, head, webdav.program, webdav.files)


def segment_of(size_bytes: int) -> tuple[ItemName, bytes]:
    """A whole segment of about that many bytes, of which most are noise."""
    name, data = make_segment()
    facts = read_facts(data)
    media = data[: facts.init_bytes + facts.media_bytes]
    # The facts grow by some digits of the length they tell, so it is not that many to the byte.
    noise = size_bytes - len(data)
    media += noise.to_bytes(4) + b"mdat" + os.urandom(noise - 8)
    data = media + facts_box(facts.model_copy(update={"media_bytes": len(media) - facts.init_bytes}))
    return replace(name, sha256=hashlib.sha256(data).hexdigest()), data


def _send(address: tuple[str, int], heads: Iterator[bytes], body: bytes) -> None:
    """PUT after PUT on one connection, until the heads, which are shared, are used up."""
    with socket.create_connection(address, timeout=60) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for head in heads:
            server.sendall(head)
            server.sendall(body)
            answer = _answer(server)
            assert answer.startswith(b"HTTP/1.1 201 "), answer[:500]


def _answer(server: socket.socket) -> bytes:
    """One answer, its body as long as announced."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(server)
    head, _, body = answer.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    missing = int(length.split(b"\r\n")[0] or 0) - len(body)
    while missing > 0:
        missing -= len(_some(server))
    return answer


def _some(server: socket.socket) -> bytes:
    part = server.recv(65536)
    assert part, "the server hung up"
    return part


def _asked(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as server:
        server.sendall(request)
        return server.recv(1000)
