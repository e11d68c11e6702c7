"""Give each camera what the ladder leaves it: its main stream, the smaller one, or power in turns only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.contract import Step
from edge_agent.core.backoff import is_told
from edge_agent.core.status import Feed
from edge_agent.errors import PowerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.clock import Clock
    from edge_agent.core.status import CameraStatus
    from edge_agent.core.turns import Turns

log = logging.getLogger(__name__)

_TURN_S: Final = 1.0
_IDLE_S: Final = 30.0
"""Whoever sheds wakes it up."""


class Outlet(Protocol):
    """What can cut the power of a camera."""

    def switch(self, *, on: bool) -> None:
        """The camera has power, or has none; PowerError when that cannot be told."""
        ...

    def close(self) -> None:
        """What was held is given back."""
        ...


class Feeds:
    """Switches the outlets, and tells recorders what to expect: a camera is told to be off a turn before it is."""

    def __init__(self, outlets: Mapping[str, Outlet], turns: Turns, clock: Clock) -> None:
        self._outlets, self._turns, self._clock = outlets, turns, clock
        self._measures: frozenset[Step] = frozenset()
        self._dark: frozenset[str] = frozenset()
        self._begun_ms: int | None = None
        self._found_ms: dict[str, int] = {}
        """Since when each camera records, or last began to."""
        self._recording: dict[str, bool] = {}
        self._stands: dict[str, bool] = {}
        self._failures = 0

    def shed(self, measures: frozenset[Step]) -> None:
        """These steps are in force from now on; from any thread."""
        self._measures = measures

    def see(self, status: CameraStatus) -> None:
        """A recorder tells what its camera gives; from its thread."""
        if status.recording and not self._recording.get(status.camera):
            self._found_ms[status.camera] = self._clock.monotonic_ms()
        self._recording[status.camera] = status.recording

    def feed(self, camera: str) -> Feed:
        """What that camera is to give now; from any thread."""
        if camera in self._dark:
            return Feed.OFF
        return Feed.SUB if Step.SUB_STREAM in self._measures else Feed.MAIN

    def run_once(self) -> float:
        """The outlets stand as they should; seconds until they are to be looked at again."""
        in_turns = Step.CAMERAS_IN_TURNS in self._measures and bool(self._outlets)
        dark = self._off_duty() if in_turns else frozenset()
        if not in_turns:
            self._begun_ms = None
        cut = self._dark & dark
        self._dark = dark
        done = [self._switch(camera, on=camera not in cut) for camera in self._outlets]
        return _TURN_S if in_turns or not all(done) else _IDLE_S

    def close(self) -> None:
        """All cameras have power, as far as that can be, and what was held is given back."""
        self._dark = frozenset()
        for camera, outlet in self._outlets.items():
            self._switch(camera, on=True)
            outlet.close()

    def _off_duty(self) -> frozenset[str]:
        now_ms = self._clock.monotonic_ms()
        self._begun_ms = now_ms if self._begun_ms is None else self._begun_ms
        elapsed_s = (now_ms - self._begun_ms) / 1000
        return frozenset(
            camera
            for number, camera in enumerate(self._outlets)
            if not self._on_duty(camera, self._turns.into_s(number, len(self._outlets), elapsed_s), now_ms)
        )

    def _on_duty(self, camera: str, into_s: float | None, now_ms: int) -> bool:
        """It is its turn, and it has not yet recorded for long enough in it."""
        if into_s is None:
            return False
        found_ms = self._found_ms.get(camera)
        recorded = found_ms is not None and found_ms >= now_ms - into_s * 1000
        return not recorded or now_ms - (found_ms or 0) < self._turns.look_s * 1000

    def _switch(self, camera: str, *, on: bool) -> bool:
        if self._stands.get(camera) is on:
            return True
        try:
            self._outlets[camera].switch(on=on)
        except PowerError as error:
            self._failures += 1
            if is_told(self._failures):
                log.error("%s", error)
            return False
        self._stands[camera] = on
        self._failures = 0
        return True
