"""A real camera, a link that breaks, a camera that falls silent: every picture arrives once, the hole has its cause."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from edge_agent.contract import ItemKind, ItemName
from tests.rig import clips
from tests.rig.city import City
from tests.rig.clips import Clip
from tests.rig.netns import CENTRE_ADDRESS, Cable
from tests.rig.parts import require_network_namespaces, require_program, require_rtsp_server
from tests.rig.processes import until
from tests.system.footage import Camera, Sent, archived_pictures, camera, clip_of

RECORD_S: Final = 120
CUT_S: Final = (40, 80)
STALL_S: Final = 10
HICCUP_AT_S: Final = 20
HICCUP_S: Final = 4
"""A silence that is too short to give the session up for."""
FOOTAGE: Final = os.environ.get("SIMPANG_FOOTAGE")
"""A file of the reader's own; read here because tests see no such variable."""


@dataclass(frozen=True)
class Plan:
    """What breaks the link, when the camera falls silent, and what it films."""

    cut: Callable[[Cable], None]
    stall_at_s: int
    clip: Clip | Path


@dataclass(frozen=True)
class Evidence:
    """What is left to compare when all is over."""

    sent: list[Sent]
    pictures: Counter[str]
    items: list[ItemName]
    backlog_at_cut_end: int
    silences: list[tuple[float, float]]
    """When the camera sent nothing, by the clock of the host."""
    timeline: list[dict[str, Any]]
    agent_log: str
    fps: float

    @property
    def key_s(self) -> float:
        """The longest wait for a key frame."""
        keys = [picture.at_s for picture in self.sent if picture.is_key]
        return max(after - before for before, after in pairwise(keys) if not self._was_silent(before, after))

    def _was_silent(self, from_s: float, to_s: float) -> bool:
        return any(from_s < end_s and begin_s < to_s for begin_s, end_s in self.silences)


PLANS: Final = {
    "interface down": Plan(Cable.unplug, 55, Clip(bframes=2, audio="pcm_alaw")),
    "packets swallowed": Plan(Cable.swallow, 95, Clip(codec="hevc", audio="aac")),
} | ({"footage of your own": Plan(Cable.swallow, 95, Path(FOOTAGE))} if FOOTAGE else {})


class Aborted(BaseException):
    """The tests were ended while the scenario ran."""


class Scenario:
    """One plan, lived through in a thread."""

    def __init__(self, plan: Plan, cable: Cable, folder: Path, abort: threading.Event) -> None:
        self._plan, self._cable, self._folder, self._abort = plan, cable, folder, abort

    def run(self) -> Evidence:
        folder, plan = self._folder, self._plan
        clip, packets = (
            clip_of(plan.clip, folder) if isinstance(plan.clip, Path) else (plan.clip, clips.make(plan.clip))
        )
        with (
            self._cable as cable,
            camera(packets, folder, cable.at_site) as eye,
            City(folder / "city", host=CENTRE_ADDRESS, prefix=cable.at_centre) as city,
        ):
            filming = {"id": "north", "source": "rtsp", "url": eye.url}
            site = city.enrol("tugu-muda", "Tugu Muda", [filming], prefix=cable.at_site)
            city.open_centre()
            site.agent.start()
            site.agent.until(eye.sent, 20, "the camera sends")
            begun_s = time.monotonic()

            def passes(until_s: float) -> None:
                """Time of the scenario goes by."""
                if self._abort.wait(max(0, begun_s + until_s - time.monotonic())):
                    raise Aborted

            def stall(at_s: float, for_s: float) -> tuple[float, float]:
                passes(at_s)
                from_s = time.time()
                eye.say("stall")
                passes(at_s + for_s)
                eye.say("run")
                return from_s, time.time()

            silences = [stall(HICCUP_AT_S, HICCUP_S)]
            passes(CUT_S[0])
            plan.cut(cable)
            if plan.stall_at_s < CUT_S[1]:
                silences.append(stall(plan.stall_at_s, STALL_S))
            passes(CUT_S[1])
            backlog = len(site.backlog(ItemKind.SEGMENT))
            cable.mend()
            if plan.stall_at_s > CUT_S[1]:
                silences.append(stall(plan.stall_at_s, STALL_S))
            passes(RECORD_S)
            eye.say("stall")
            end = datetime.now(UTC)
            site.agent.until(lambda: not list((site.spool / "writing").iterdir()), 30, "the last segment is whole")
            city.await_drained(site.id)
            until(lambda: not self._pending(city, eye, end), 30, "the centre expects no more")
            files = city.archived(site.id)
            return Evidence(
                sent=eye.sent(),
                pictures=archived_pictures((file for name, file in files if name.kind is ItemKind.SEGMENT), clip.codec),
                items=[name for name, _ in files],
                backlog_at_cut_end=backlog,
                silences=silences,
                timeline=self._timeline(city, eye, end),
                agent_log=site.agent.output(),
                fps=clips.eval_rate(clip.fps),
            )

    def _timeline(self, city: City, eye: Camera, end: datetime) -> list[dict[str, Any]]:
        """What the centre knows of each moment from the first picture to the end."""
        begin = datetime.fromtimestamp(eye.sent()[0].at_s, UTC)
        span = f"from={quote(begin.isoformat())}&to={quote(end.isoformat())}"
        intervals: list[dict[str, Any]] = city.api(f"/sites/tugu-muda/cameras/north/timeline?{span}")["intervals"]
        return intervals

    def _pending(self, city: City, eye: Camera, end: datetime) -> bool:
        return any(interval["state"] == "pending" for interval in self._timeline(city, eye, end))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Evidence]]]:
    """Every plan, lived through at the same time as the others."""
    ip, nft = require_network_namespaces(), require_program("nft")
    require_rtsp_server()
    require_program("ffmpeg")
    abort = threading.Event()
    with ThreadPoolExecutor(len(PLANS)) as pool:
        try:
            yield {
                name: pool.submit(Scenario(plan, Cable(ip, nft), tmp_path_factory.mktemp("plan"), abort).run)
                for name, plan in PLANS.items()
            }
        finally:
            abort.set()


@pytest.mark.timeout(420)
@pytest.mark.parametrize("plan", PLANS)
def test_every_picture_is_archived_once(plan: str, lived: dict[str, Future[Evidence]]) -> None:
    """What the camera sent while it was up is at the centre, exactly once, compared by the hash of its slices."""
    seen = lived[plan].result()
    sent = {picture.digest for picture in seen.sent}
    assert len(sent) > seen.fps * (RECORD_S - STALL_S - HICCUP_S) * 0.9, "the camera sent less than the scenario needs"
    missing = [picture for picture in seen.sent if picture.digest not in seen.pictures]
    assert not missing, seen.agent_log
    assert {digest: count for digest, count in seen.pictures.items() if count > 1} == {}
    assert seen.pictures.keys() <= sent


@pytest.mark.timeout(420)
@pytest.mark.parametrize("plan", PLANS)
def test_every_item_is_archived_once(plan: str, lived: dict[str, Future[Evidence]]) -> None:
    """The cut really kept footage back, and no identity is stored twice."""
    seen = lived[plan].result()
    assert seen.backlog_at_cut_end >= 5
    identities = Counter((name.run, name.sequence) for name in seen.items)
    assert [identity for identity, count in identities.items() if count > 1] == []


@pytest.mark.timeout(420)
@pytest.mark.parametrize("plan", PLANS)
def test_the_hole_has_its_cause(plan: str, lived: dict[str, Future[Evidence]]) -> None:
    """The seconds in which the camera was silent are lost to the camera, and no others."""
    seen = lived[plan].result()
    unrecorded = [interval for interval in seen.timeline if interval["state"] != "recorded"]
    holes = [interval for interval in unrecorded if interval["detail"] != "before the first footage"]
    assert {hole["state"] for hole in holes} == {"lost"}, holes
    silent = [hole for hole in holes if hole["cause"] == "camera"]
    assert len(silent) == len(seen.silences), holes
    for hole, (from_s, to_s) in zip(silent, seen.silences, strict=True):
        assert _second(hole["from"]) == pytest.approx(from_s, abs=1)
        assert _second(hole["to"]) == pytest.approx(to_s, abs=2 + seen.key_s)
    others = [hole for hole in holes if hole not in silent]
    assert all(_second(hole["to"]) < seen.sent[0].at_s + 5 for hole in others), "only the start of the agent"


def _second(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
