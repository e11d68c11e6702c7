"""Power cuts under the centre: database and archive on the disk, clients that send as fast as they can.

Its first minutes are cut, too: while it makes its tables and gets to know its site.

A client keeps its receipts outside the disk, and sends again what has none, as an agent does. After each cut the disk
is read before the centre may: every receipt has its row and its object, every row its object, whole, the database is
sound, and no password is empty. Then the centre must come back by itself.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from edge_agent.contract import (
    ITEM_PATH,
    Event,
    EventData,
    EventType,
    ItemKind,
    ItemName,
    Receipt,
    content_digest,
    instant,
    run_id,
)
from tests.cuts import lives
from tests.cuts.lives import Life
from tests.cuts.outcome import Outcome
from tests.rig.city import to_toml
from tests.rig.link import free_port
from tests.rig.power_disk import Cut, PowerDisk
from tests.rig.processes import LateError, until
from tests.rig.segments import make_item, make_segment

_SITE: Final = "tugu-muda"
_START_MS: Final = 1_795_000_000_000
_CLIENTS: Final = 4
_BIRTHS: Final = 0.2
"""How many cuts come before it has ever served; it is `early` then, too."""
_BIRTH_WRITES: Final = 40
_EARLY: Final = 0.3
"""How many cuts come while the centre recovers from the one before."""
_EARLY_WRITES: Final = 25
_WRITES: Final = 250
_START_S: Final = 20
_LIFE_S: Final = 4
"""Whoever has not written so much by then is cut all the same."""


def cut_centre(seed: int, cuts: int, folder: Path, victim: str) -> Outcome:
    """So many cuts, one after the other."""
    with ExitStack() as stack:
        disk = stack.enter_context(PowerDisk(folder / "disk", 256))
        return stack.enter_context(closing(_Ordeal(seed, folder, disk, victim))).run(cuts)


class _Client:
    """Sends items one by one, for ever, each until it has a receipt."""

    def __init__(self, number: int, port: int, token: str) -> None:
        self._run = run_id(number + 1, "cuts")
        self._port, self._token = port, token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self.receipts: dict[str, float] = {}
        """Name to when its receipt came."""
        self.sending = threading.Event()
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self._run)
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        for name, body in self._items():
            while not self._deliver(name, body):
                if self.stop.wait(0.02):
                    return
            if self.stop.is_set():
                return

    def _items(self) -> Iterator[tuple[ItemName, bytes]]:
        """Segments of several sizes, and every fourth item an event."""
        for number in count():
            start_ms = _START_MS + number * 1000
            if number % 4 == 3:
                data = EventData(run=self._run, camera="north")
                event = Event(
                    id=f"{self._run}-{number}",
                    source=f"/{_SITE}",
                    type=EventType.CAMERA_BACK,
                    time=instant(start_ms),
                    data=data,
                )
                body = event.to_json()
                yield make_item(ItemKind.EVENT, body, self._run, number, "north", start_ms), body
            else:
                size = [(64, 48), (160, 120), (320, 240)][number % 3]
                yield make_segment(
                    run=self._run, sequence=number, start_ms=start_ms, duration_ms=1000, media_start_ms=0, size=size
                )

    def _deliver(self, name: ItemName, body: bytes) -> bool:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Digest": content_digest(name.sha256)}
        try:
            self._connection.request("PUT", f"{ITEM_PATH}{name}", body, headers)
            answer = self._connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False
        if answer.status not in {200, 201}:
            return False
        receipt = Receipt.model_validate_json(told)
        assert receipt.covers(_SITE, name), "a receipt for something else"
        self.receipts[str(name)] = time.time()
        return True


class _Ordeal:
    def __init__(self, seed: int, folder: Path, disk: PowerDisk, victim: str) -> None:
        self._seed, self._folder, self._disk, self._victim = seed, folder, disk, victim
        self._dice = random.Random(seed)
        self._home = disk.mount_point / "centre"
        self._port = free_port()
        self._config = folder / "centre.toml"
        self._config.write_text(
            to_toml(
                {
                    "directory": str(self._home),
                    "agent_listen": f"127.0.0.1:{self._port}",
                    "console_listen": "127.0.0.1:0",
                    "reserve_bytes": 0,
                    "broker": {"listen": f"127.0.0.1:{free_port()}"},
                }
            )
        )
        self._clients: list[_Client] = []
        self._cuts: list[Cut] = []
        self._early = 0
        self._back_s: list[float] = []
        self._broken: set[int] = set()
        self._lost: set[str] = set()
        self._damaged: set[str] = set()
        self._left_over = 0
        self._findings: list[str] = []

    def close(self) -> None:
        for client in self._clients:
            client.stop.set()
        for client in self._clients:
            client.close()

    def run(self, cuts: int) -> Outcome:
        begun_s = time.monotonic()
        births = round(cuts * _BIRTHS)
        for number in range(births):
            self._be_born(number)
        if (token := self._enrol()) is not None:
            self._clients = [_Client(number, self._port, token) for number in range(_CLIENTS)]
            if all(self._live(number) for number in range(births, cuts)):
                self._last_life()
        took_s = time.monotonic() - begun_s
        receipts = self._receipts()
        return Outcome(
            victim=self._victim,
            seed=self._seed,
            cuts=len(self._cuts),
            early=self._early,
            dropped=sum(cut.lost_sectors > 0 for cut in self._cuts),
            sectors_kept=sum(cut.kept_sectors for cut in self._cuts),
            sectors_lost=sum(cut.lost_sectors for cut in self._cuts),
            promised=len(receipts),
            receipted=len(receipts),
            lost_promised=len(self._lost),
            lost_receipted=len(self._lost),
            damaged=len(self._damaged),
            left_over=self._left_over,
            broken=len(self._broken),
            back_s=tuple(self._back_s),
            findings=tuple(self._findings[:20]),
            took_s=round(took_s, 1),
        )

    def _receipts(self) -> dict[str, float]:
        return {name: at for client in self._clients for name, at in client.receipts.copy().items()}

    # --- lives ---

    def _be_born(self, number: int) -> None:
        """The site is enrolled at a centre that has no tables yet, or half of them, and the power goes."""
        dice, disk = self._dice, self._disk
        root = disk.mount()
        if dice.random() < 0.5:
            shutil.rmtree(self._home, ignore_errors=True)
            subprocess.run(["sync", "--file-system", root], check=True)
        seed = dice.getrandbits(32)
        disk.arm(dice.randint(1, _BIRTH_WRITES), seed)
        life, _ = self._enroller(number)
        until(lambda: life.ended is not None or disk.tally.cut, _START_S, "enrolled, or cut", every_s=0.01)
        is_known = life.ended == 0
        if not is_known and disk.tally.cut is None:
            self._fail(number - 1, f"nobody can be enrolled: exit code {life.ended}")
        disk.cut(seed)
        life.end()
        cut = disk.tally.cut
        assert cut is not None
        self._cuts.append(cut)
        self._early += 1
        disk.power_on()
        disk.mount()
        try:
            if is_known and self._query("select site from sites") != [(_SITE,)]:
                self._fail(number, "enrolled, and not known")
        except sqlite3.DatabaseError as error:
            self._fail(number, f"the database is not sound: {error}")
        disk.unmount()

    def _enrol(self) -> str | None:
        """The site's token, at last; None when there is nothing to go on with."""
        self._disk.mount()
        life, words = self._enroller(len(self._cuts))
        until(lambda: life.ended is not None, _START_S, "enrolled")
        if life.ended != 0:
            self._fail(len(self._cuts) - 1, f"nobody can be enrolled: exit code {life.ended}")
            return None
        self._disk.power_on()
        token: str = json.loads(words.read_text())["token"]
        return token

    def _enroller(self, number: int) -> tuple[Life, Path]:
        words = self._folder / f"enrol-{number}"
        return self._central(words, "enrol", _SITE, "--renew", "--json"), words

    def _serve(self) -> Life:
        return self._central(self._folder / "centre.log", "serve")

    def _central(self, words: Path, *arguments: str) -> Life:
        life = Life(lives.central, words, *arguments, "--config", self._config)
        self._disk.feed(life.pid)
        return life

    def _live(self, number: int) -> bool:
        """One life, its end, and a look at the disk; false when there is nothing to go on with."""
        dice, disk = self._dice, self._disk
        disk.mount()
        seed = dice.getrandbits(32)
        early = dice.random() < _EARLY
        if early:
            disk.arm(dice.randint(1, _EARLY_WRITES), seed)
        before = len(self._receipts())
        started_s = time.monotonic()
        life = self._serve()
        while len(self._receipts()) == before and disk.tally.cut is None:
            is_late = life.ended is not None or time.monotonic() - started_s > _START_S
            if is_late and disk.tally.cut is None:
                self._fail(number - 1, f"the centre did not come back: exit code {life.ended}")
                life.end()
                return False
            time.sleep(0.01)
        if len(self._receipts()) > before:
            self._back_s.append(round(time.monotonic() - started_s, 3))
        if not early:
            disk.arm(dice.randint(1, _WRITES), seed)
        cut = disk.lose_power(_LIFE_S, seed)
        life.end()
        self._early += len(self._receipts()) == before
        self._cuts.append(cut)
        disk.power_on()
        disk.mount()
        sound = self._look(number)
        disk.unmount()
        return sound

    def _last_life(self) -> None:
        """The power stays; every client gets its receipt, and the centre stops in good order."""
        number = len(self._cuts) - 1
        self._disk.mount()
        life = self._serve()
        marks = [len(client.receipts) for client in self._clients]

        def each_got_one() -> bool:
            return all(len(client.receipts) > mark for client, mark in zip(self._clients, marks, strict=True))

        try:
            until(each_got_one, 30, "every client has a receipt")
        except LateError as error:
            self._fail(number, str(error))
        self.close()
        if (code := life.stop(15)) != 0:
            self._fail(number, f"the last life ended with {code}")
        life.end()
        self._look(number)
        objects = {str(path.relative_to(self._home / "archive")) for path in self._files()}
        self._left_over = len(objects - {key for key, _ in self._rows().values()})

    # --- looking ---

    def _look(self, number: int) -> bool:
        """What is on the disk after the cut of that number, before any centre sees it; whether one can go on."""
        receipts = self._receipts()
        for file in self._home.glob("broker/*.password"):
            if not file.read_text().strip():
                self._fail(number, f"{file.name} is empty: whoever wants to may read along")
        try:
            rows = self._rows()
        except sqlite3.DatabaseError as error:
            self._fail(number, f"the database is not sound: {error}")
            return False
        for name in receipts.keys() - rows.keys() - self._lost:
            self._lost.add(name)
            self._fail(number, f"receipted, but without a row: {name}")
        for name, (key, sha256) in rows.items():
            with suppress(FileNotFoundError):
                if hashlib.sha256((self._home / "archive" / key).read_bytes()).hexdigest() == sha256:
                    continue
            if name not in self._damaged:
                self._damaged.add(name)
                self._lost |= {name} & receipts.keys()
                self._fail(number, f"a row without its whole object: {name}")
        return True

    def _rows(self) -> dict[str, tuple[str, str]]:
        """Name of each item that has a row, to its object and hash; DatabaseError when the database is not sound."""
        columns = "run, sequence, kind, camera, start_ms, duration_ms, clock, sha256, object"
        rows = self._query(f"select {columns} from items")  # noqa: S608
        return {
            str(ItemName(run, number, ItemKind(kind), *labels)): (key, labels[-1])
            for run, number, kind, *labels, key in rows
        }

    def _query(self, query: str) -> list[Any]:
        """The answer of a copy of the database, so that the centre itself is the first to recover the original."""
        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self._home.glob("central.sqlite*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(copy / "central.sqlite")) as store:
            if (verdict := store.execute("pragma integrity_check").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(verdict)
            return store.execute(query).fetchall()

    def _files(self) -> Iterator[Path]:
        return (path for path in (self._home / "archive").rglob("*") if path.is_file())

    def _fail(self, number: int, finding: str) -> None:
        self._broken.add(max(0, number))
        self._findings.append(f"seed {self._seed}, cut {number + 1}: {finding}")
