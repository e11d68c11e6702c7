"""The agent: builds rooms, gives them to jobs, and jobs to threads. The only place that constructs.

The threads, and why each is one:
    record CAMERA   one per camera: reading a stream blocks for as long as the camera is silent
    ship            an upload on a poor link takes minutes
    backlog N       the backlog, which must not be in the way of what is fresh; three of them, so that one sends while
                    others wait for their receipts
    compare         likewise an answer of the centre, and uploads do not wait for it
    bus             all of MQTT: connecting blocks, and nobody may wait for the broker
    look            the way to the centre: a name lookup on a broken link blocks for half a minute
    probe           the network port, once a second, whatever `look` is stuck in
    guard           the battery, once or twice a second, whatever the disk does
    outlets         the power of cameras, where the agent can cut it: a command of the operator's may hang
    power SOURCE    one per source of power readings: a bus that hangs delays no other, and restarts nothing
    keep            room on the disk: deleting may block
    report          state messages, at once at news
The main thread waits for charge, hangs up on cameras that went silent, feeds the watchdog of the service manager and
waits for the end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.board import Board
from edge_agent.bus import Bus, Door
from edge_agent.camera import open_source
from edge_agent.camera.lines import Lines
from edge_agent.clock import stamp
from edge_agent.contract import (
    CameraState,
    EventData,
    EventType,
    Info,
    LossCause,
    Power,
    PresenceState,
    SpoolState,
    Step,
    Supply,
    instant,
)
from edge_agent.core.battery_test import PastTests
from edge_agent.core.drain import Drain
from edge_agent.core.eviction import WhenFull
from edge_agent.core.fusion import Fusion
from edge_agent.core.pace import Limits, parse_window
from edge_agent.core.passage import first_breath, greeting, last_gasp
from edge_agent.core.report import camera_state, spool_state
from edge_agent.core.shipping import Order, Want
from edge_agent.core.status import CameraStatus, End, Feed
from edge_agent.core.waking import Waking
from edge_agent.crew import Crew
from edge_agent.errors import SpoolError
from edge_agent.gates import FreshGate, LateGate
from edge_agent.host import HostProbe
from edge_agent.jobs.compare import Compare
from edge_agent.jobs.feeds import Feeds
from edge_agent.jobs.guard import Guard, estimated
from edge_agent.jobs.keep import Keep
from edge_agent.jobs.probe import Look, Probe
from edge_agent.jobs.record import Record
from edge_agent.jobs.report import Report
from edge_agent.jobs.ship import Lane, Ship
from edge_agent.journal import Journal
from edge_agent.outlets import open_outlet
from edge_agent.power import openers
from edge_agent.power.panel import Panel
from edge_agent.power.self_test import SelfTest
from edge_agent.probe import WayProbe
from edge_agent.snapshot import Eye
from edge_agent.spool import Spool
from edge_agent.systemd import notify
from edge_agent.uplink import Uplink

if TYPE_CHECKING:
    from edge_agent.camera.source import Source
    from edge_agent.clock import Clock
    from edge_agent.contract import Message, Wish
    from edge_agent.core.fusion import Heard
    from edge_agent.core.status import Room
    from edge_agent.core.supply import PowerReading
    from edge_agent.last_good import LastGood
    from edge_agent.settings import CameraSettings, Settings

log = logging.getLogger(__name__)

_TICK_S: Final = 2.0
_FIRST_WORD_S: Final = 3.0
"""A source that hangs delays the start by no more."""
# The parts of an ordered stop, which is to take less than ten seconds even if camera and link hang.
_JOIN_S: Final = 3.5
_WORDS_S: Final = 1.0
_DRAIN_S: Final = 1.0
_SILENCE_S: Final = 1.0
_COMMAND_S: Final = 30
_MEMORY: Final = "/dev/shm"  # noqa: S108 - what lies there is made for us alone, and refused when it is not ours
_BACKLOGS: Final = ("backlog 1", "backlog 2", "backlog 3")
_IDLE_S: Final = 1.0
_LONG_IDLE_S: Final = 30.0
"""What waits for the backlog is woken when there is one, and looks seldom by itself."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the agent stops."""

    cause: LossCause
    reason: str


class Agent:
    """One life of the agent at one site; `last_good` is where its settings come from."""

    def __init__(self, settings: Settings, clock: Clock, last_good: LastGood) -> None:
        self._settings, self._clock, self._last_good = settings, clock, last_good
        self._crew = Crew(clock)
        self._board = Board()
        self._ending: Ending | None = None
        self._fusion = Fusion()
        self._is_light = False
        self._stuck: list[str] = []

    def end(self, cause: LossCause, reason: str) -> None:
        """The agent stops in good order, for the first cause that was given."""
        self._ending = self._ending or Ending(cause, reason)
        self._crew.end()

    def _obey(self, told: str) -> None:
        """Told to stop on a low battery, and not the one who switches the board off: whoever is does that now."""
        power = self._board.facts().get("power")
        low = isinstance(power, Power) and power.supply is Supply.LOW and not self._settings.power.stop_command
        self.end(LossCause.POWER if low else LossCause.STOPPED, f"{told} on a low battery" if low else told)

    def run(self) -> int:
        """Record, ship and report until the end; 0 after an ordered stop, 1 after a bug.

        SpoolError: the spool is misplaced, or there is neither disk nor memory to record to. Everything else that is
        down at the start is waited for.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, _frame: self._obey(signal.Signals(got).name))
        self_test = self._self_test()
        power = Panel(openers(self._settings.power, self._clock, self_test), self._clock)
        reading = self._reading(power.hear_all(_FIRST_WORD_S))
        settings = self._settings.spool
        spool = Spool(
            settings.directory,
            quota_bytes=settings.quota_bytes,
            reserve_bytes=settings.reserve_bytes,
            clock=self._clock,
            when_full=WhenFull(settings.when_full),
            order=Order(self._settings.ship.backlog_order),
            mount=settings.mount,
            memory=_memory_of(settings.directory) if settings.memory_bytes else None,
            memory_bytes=settings.memory_bytes,
        )
        self._live(spool, power, reading, self_test)
        power.close()
        spool.close()
        if self._crew.crashed:
            return 1
        if self._ending and self._ending.cause is LossCause.POWER:
            self._command()
        return 0

    def _self_test(self) -> SelfTest | None:
        nut = self._settings.power.nut
        return SelfTest(nut.test_command, self._clock) if nut and nut.test_every_days else None

    def _reading(self, heard: tuple[Heard, ...]) -> PowerReading:
        self._fusion = self._fusion.see(heard, self._clock.monotonic_ms())
        return estimated(self._fusion.reading, self._settings.power)

    def _live(self, spool: Spool, power: Panel, reading: PowerReading, self_test: SelfTest | None) -> None:
        settings, clock, crew, board = self._settings, self._clock, self._crew, self._board
        door = Door(settings.broker, settings.site, settings.centre.token.get_secret_value())
        fresh = FreshGate(clock)
        limits = Limits(settings.ship.backlog_bytes_per_s, parse_window(settings.ship.backlog_window))
        late = LateGate(fresh, limits, clock)

        def heed(wish: Wish) -> None:
            late.grant(wish)
            guard.hear(wish.lessons)
            spool.want(tuple(map(Want.of, wish.wanted)))
            spool.lock(map(Want.of, wish.locked))
            compared_ms = compare.proof.compared_ms
            if wish.compared_since and (compared_ms is None or instant(compared_ms) < wish.compared_since):
                compare.ask()
                crew.hurry("compare")

        def rival(detail: str) -> None:
            announce(EventType.SITE_DOUBLED, EventData(run=spool.run, detail=detail))

        bus = Bus(door, spool.run, clock, heed, rival)
        announce = Journal(settings.site, spool, bus, clock).announce
        previous, now = spool.previous, stamp(clock)
        plan = settings.power.plan(len(settings.cameras))
        went_dark = previous is not None and previous.cause is LossCause.POWER
        was_empty = previous is not None and previous.in_order and went_dark
        waking = Waking(plan.stop, was_empty, reading, now.monotonic_ms, now.monotonic_ms)
        breath = first_breath(
            spool.run, previous, spool.waiting(), End(now.now_ms, now.quality, now.monotonic_ms), waking.why
        )
        self._is_light = waking.is_light
        announce(EventType.AGENT_STARTED, breath)
        bus.greet(greeting(breath), again=waking.why)
        if trouble := self._last_good.trouble:
            announce(EventType.SETTINGS_TROUBLE, EventData(run=spool.run, detail=trouble))
        board.post("info", self._info(spool.run))

        lanes = {"ship": Lane(spool.take_fresh, spool.arrived, _IDLE_S, fresh)}
        lanes |= dict.fromkeys(_BACKLOGS, Lane(spool.take_late, spool.late, _LONG_IDLE_S, late))
        ships = {
            name: Ship(
                lane,
                spool,
                Uplink(settings.centre, settings.site, late.queue_ms if name in _BACKLOGS else None),
                announce,
                partial(crew.progress, name),
                spool.run,
                clock,
            )
            for name, lane in lanes.items()
        }

        way = WayProbe(settings.centre.address, settings.link.interface)
        compare = Compare(spool, Uplink(settings.centre, settings.site), announce, clock)

        def reopened() -> None:
            fresh.hope()
            compare.ask()
            crew.hurry("bus", "compare", *ships)

        far = Look(way, settings.link.probe_s, on_open=reopened)
        report = Report(
            board,
            bus.state,
            HostProbe(clock, settings.spool.directory).read,
            spool,
            announce,
            spool.run,
            settings.report.telemetry_s,
            clock,
        )

        def flat(reason: str) -> None:
            if not self._is_light:
                self.end(LossCause.POWER, reason)

        eye = Eye()
        ladder = settings.power.ladder
        outlets = {outlet.camera: open_outlet(outlet) for outlet in ladder.outlets}
        feeds = Feeds(outlets, ladder.turns, clock)

        def show_camera(status: CameraStatus) -> None:
            feeds.see(status)
            self._show_camera(status)

        def shed(measures: frozenset[Step]) -> None:
            spool.events_only = Step.RECORD_ONLY in measures
            late.hold(held=not measures.isdisjoint({Step.NO_BACKFILL, Step.RECORD_ONLY}))
            eye.shut = Step.NO_PICTURE_CHECKS in measures
            feeds.shed(measures)
            if outlets:
                crew.hurry("outlets")

        guard = Guard(
            *(power, settings.power, plan, self._shower("power"), announce, shed, flat, spool.run, clock),
            *(spool.battery, self._shower("battery")),
            (self_test, settings.power.nut.timetable, PastTests(undated_cut=went_dark))
            if self_test and settings.power.nut
            else None,
        )
        lines = Lines(clock)
        show_room = self._show_room(late, compare)
        keep = Keep(spool, clock, announce=announce, show=show_room, warn_s=settings.spool.warn_s)
        crew.hire("keep", keep)
        if outlets:
            crew.hire("outlets", feeds)
        crew.hire("guard", guard)
        power.call(partial(crew.hurry, "guard"))
        crew.hire("look", far)
        crew.hire("probe", Probe(way, far, lambda: bus.reach, self._shower("link"), announce, spool.run, clock))
        crew.hire("report", report)
        silence = threading.Event()
        crew.hire("bus", bus, silence)
        notify("READY=1")
        self._last_good.keep()
        if self._has_charge(waking, power, bus):
            began = previous.cause if previous else None
            for camera in settings.cameras:
                thread = f"record {camera.id}"
                record = Record(
                    camera,
                    partial(_open_feed, camera, clock, crew.stop, lines),
                    spool,
                    eye,
                    clock,
                    crew.stop,
                    announce=announce,
                    show=show_camera,
                    make_room=keep.make_room,
                    beat=partial(crew.progress, thread),
                    began=began,
                    feed=partial(feeds.feed, camera.id),
                )
                crew.hire(thread, record)
            for name, ship in ships.items():
                crew.hire(name, ship, silence)
            crew.hire("compare", compare, silence)
            log.info("run %s of site %s with %d cameras", spool.run, settings.site, len(settings.cameras))
        while not self._tick(self._status()):
            lines.watch()
        notify("STOPPING=1")
        self._finish(spool, announce, report, ships["ship"], bus, silence)
        if not (self._ending and self._ending.cause is LossCause.POWER):
            feeds.close()  # an empty battery feeds no more cameras

    def _has_charge(self, waking: Waking, power: Panel, bus: Bus) -> bool:
        """Whether there is charge for more than a light start, once there is; false when told to stop before."""
        if self._is_light:
            log.warning("a light start: %s", waking.why)
            since_ms = self._clock.now_ms()
            for camera in self._settings.cameras:
                self._show_camera(CameraStatus(camera.id, since_ms, cause=LossCause.POWER, detail=waking.why))
        while self._is_light:
            if self._tick(f"waiting: {waking.why}"):
                return False
            waking = waking.see(self._reading(power.heard()), self._clock.monotonic_ms())
            self._is_light = waking.is_light
            # Nobody is served by stopping for good what waits for mains, unless that switches the board off.
            if waking.must_stop and self._settings.power.stop_command:
                self.end(LossCause.POWER, f"{waking.known}, and mains is away")
            elif not waking.is_light:
                log.info("the light start is over")
                bus.greet("there is charge for one more ordered stop, or mains has held: recording begins")
        return not self._crew.stop.is_set()

    def _tick(self, status: str) -> bool:
        """The watchdog is fed while every thread gets on, a dead camera or link stops none; then, whether to stop."""
        stuck = self._crew.stuck()
        if stuck and stuck != self._stuck:
            log.error("stuck, so the watchdog is not fed: %s", ", ".join(stuck))
        self._stuck = stuck
        notify(f"STATUS={status}", *([] if stuck else ["WATCHDOG=1"]))
        return self._clock.wait(self._crew.stop, _TICK_S)

    def _finish(
        self,
        spool: Spool,
        announce: Callable[[EventType, EventData], None],
        report: Report,
        ship: Ship,
        bus: Bus,
        silence: threading.Event,
    ) -> None:
        ending = self._ending
        if ending:
            log.info("stopping: %s", ending.reason)
        if late := self._crew.join(_JOIN_S):
            log.warning("not waiting for: %s", ", ".join(late))

        def last_words() -> None:
            if ending:
                announce(EventType.AGENT_STOPPING, self._gasp(spool, ending))
            report.flush()
            if ending:
                try:
                    spool.end(ending.cause)
                except SpoolError as error:
                    log.error("%s", error)

        stored = self._crew.within(_WORDS_S, last_words)
        if not stored:
            log.warning("not waiting for the disk")
        # What was just recorded goes out, the last word first, if items were going out anyway.
        until_ms = self._clock.monotonic_ms() + _DRAIN_S * 1000
        while stored and ship.flows and spool.next_unsent() and self._clock.monotonic_ms() < until_ms:
            self._clock.wait(silence, 0.1)
        self._crew.end(silence)
        spool.late.set()
        bus.stir()
        late = self._crew.join(_SILENCE_S)
        if ending and "bus" not in late:
            asleep = ending.cause is LossCause.POWER
            bus.leave(PresenceState.ASLEEP if asleep else PresenceState.STOPPING, ending.reason)

    def _command(self) -> None:
        command = self._settings.power.stop_command
        if not command:
            return
        log.info("running %s", " ".join(command))
        try:
            subprocess.run(command, check=True, timeout=_COMMAND_S)
        except (OSError, subprocess.SubprocessError) as error:
            log.error("stop_command in [power] failed: %s", error)

    def _gasp(self, spool: Spool, ending: Ending) -> EventData:
        facts = self._board.facts()
        power = facts.get("power")
        return last_gasp(
            spool.run,
            ending.cause,
            ending.reason,
            power if isinstance(power, Power) else None,
            [fact for fact in facts.values() if isinstance(fact, CameraState)],
            spool.newest_sequence,
            spool.waiting(),
        )

    # --- facts become messages on the board ---

    def _info(self, run: str) -> Info:
        return Info(
            version=version("simpang"),
            run=run,
            name=self._settings.name or self._settings.site,
            latitude=self._settings.latitude,
            longitude=self._settings.longitude,
            cameras=tuple(camera.id for camera in self._settings.cameras),
            started_at=instant(self._clock.now_ms()),
            detail=self._last_good.trouble,
        )

    def _shower(self, group: str) -> Callable[[Message], None]:
        return lambda fact: self._board.post(group, fact)

    def _show_camera(self, status: CameraStatus) -> None:
        self._board.post(f"camera/{status.camera}", camera_state(status, self._clock.now_ms()))

    def _show_room(self, gate: LateGate, compare: Compare) -> Callable[[Room], None]:
        drain = Drain()

        def show(room: Room) -> None:
            flow = drain.see(room.stats, self._clock.monotonic_ms())
            state = spool_state(room, compare.proof, flow, gate.allowance(), self._clock.now_ms())
            self._board.post("spool", state)

        return show

    def _status(self) -> str:
        facts = self._board.facts().values()
        cameras = [fact for fact in facts if isinstance(fact, CameraState)]
        waiting = next((fact.backlog_items for fact in facts if isinstance(fact, SpoolState)), 0)
        recording = sum(camera.recording for camera in cameras)
        return f"recording {recording} of {len(cameras)} cameras, {waiting} items wait for the centre"


def _open_feed(camera: CameraSettings, clock: Clock, stop: threading.Event, lines: Lines, feed: Feed) -> Source:
    chosen = camera.model_copy(update={"url": camera.sub_url}) if feed is Feed.SUB else camera
    return open_source(chosen, clock, stop, lines)


def _memory_of(directory: Path) -> Path:
    """Where what the disk of that spool cannot take waits; the same for each life, so that a crash does not cost it."""
    memory = os.environ.get("RUNTIME_DIRECTORY", _MEMORY)
    return Path(memory) / f"simpang-{hashlib.sha256(bytes(directory.absolute())).hexdigest()[:16]}"
