"""A rendered crossing, for trying things out without a camera: traffic on the left side, lights, a burnt-in clock.

The strip along the bottom repeats the clock and the frame number for machines: 64 cells, black or white, most
significant first: 40 of Unix time in tenths of a second, 24 of the frame number.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import av
import cv2
import numpy as np

from edge_agent.camera.source import Source, camera_trouble

if TYPE_CHECKING:
    from threading import Event

    from numpy.typing import NDArray

    from edge_agent.clock import Clock

    Picture = NDArray[np.uint8]

WIDTH, HEIGHT, FPS = 640, 360, 10
CELLS: Final = 64

_CENTRE = np.array([320.0, 168.0])
_LANE = 17.0
_ROAD = 44
_STOP = -62.0
_CYCLE_S, _GREEN_S, _YELLOW_S = 24.0, 9.0, 1.5
_HEADINGS = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)])
_REACH = (380.0, 240.0, 380.0, 240.0)
_SPEED, _PULL, _BRAKE = 78.0, 45.0, 150.0
_PAINTS = ((225, 225, 228), (60, 60, 66), (150, 40, 34), (38, 90, 190), (40, 150, 200), (96, 128, 60), (190, 190, 110))
_LAMPS = {"red": (40, 40, 235), "yellow": (40, 200, 250), "green": (90, 220, 60)}


def open_scene(camera: str, clock: Clock, stop: Event) -> Source:
    """The crossing that belongs to this camera's id, in real time until `stop` is set."""
    with camera_trouble("the scene"):  # it ends early when `stop` is set meanwhile
        container = av.open(_Film(camera, clock, stop), "r", format="nut")
    return Source(container, "the scene", clock, sound=False)


class _Film:
    """The scene as a file that libav reads: each frame is drawn when its time has come."""

    def __init__(self, camera: str, clock: Clock, stop: Event) -> None:
        self._clock, self._stop = clock, stop
        self._crossing = Crossing(camera)
        self._start_ms = clock.monotonic_ms()
        self._number = 0
        self._ready = bytearray()
        self._muxer = av.open(self, "w", format="nut", options={"flush_packets": "1"})
        self._encoder = self._muxer.add_stream(
            "libx264",
            rate=FPS,
            options={
                "preset": "veryfast",
                "tune": "zerolatency",
                "crf": "26",
                "x264-params": "log-level=none:threads=1",
            },
        )
        self._encoder.width, self._encoder.height, self._encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        self._encoder.gop_size = 2 * FPS

    def write(self, data: bytes) -> int:
        self._ready += data
        return len(data)

    def read(self, size: int) -> bytes:
        while not self._ready:
            early_ms = self._start_ms + self._number * 1000 // FPS - self._clock.monotonic_ms()
            if self._clock.wait(self._stop, max(0, early_ms) / 1000):
                return b""
            self._number = max(self._number, self._number - (early_ms + 1000) * FPS // 1000)  # fell behind: skip
            picture = self._crossing.paint(self._clock.now_ms(), self._number)
            planes: Picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = self._number
            self._muxer.mux(self._encoder.encode(frame))
            self._number += 1
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data


@dataclass(slots=True)
class _Vehicle:
    at: float
    length: float
    width: float
    paint: tuple[int, int, int]
    speed: float = _SPEED


@dataclass(slots=True)
class _Approach:
    """One way through the crossing; places are pixels along it, 0 in the middle."""

    heading: NDArray[np.float64]
    reach: float
    busy: float
    vehicles: list[_Vehicle] = field(default_factory=list)

    def drive(self, light: str, step_s: float, dice: random.Random) -> None:
        ahead = float("inf")
        for vehicle in self.vehicles:
            free = ahead - vehicle.at - vehicle.length / 2
            nose = vehicle.at + vehicle.length / 2
            if light != "green" and nose <= _STOP + 2:
                free = min(free, _STOP - nose + vehicle.length / 2)
            wanted = min(_SPEED, max(0.0, (free - vehicle.length / 2 - 7) * 1.6))
            change = min(max(wanted - vehicle.speed, -_BRAKE * step_s), _PULL * step_s)
            vehicle.speed += change
            vehicle.at += vehicle.speed * step_s
            ahead = vehicle.at - vehicle.length / 2
        if self.vehicles and self.vehicles[0].at > self.reach:
            self.vehicles.pop(0)
        room = not self.vehicles or self.vehicles[-1].at > -self.reach + 46
        if room and dice.random() < self.busy * step_s:
            self.vehicles.append(self._arrive(dice))

    def _arrive(self, dice: random.Random) -> _Vehicle:
        kind = dice.random()
        length, width = (12.0, 6.0) if kind < 0.4 else (26.0, 13.0) if kind < 0.9 else (48.0, 15.0)
        return _Vehicle(-self.reach, length, width, dice.choice(_PAINTS))


class Crossing:
    """Draws one crossing; the same id always gives the same place, seen at the same hour of the day."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._dice = random.Random(camera)  # noqa: S311 - scenery, not secrets
        self._offset_s = self._dice.uniform(0, _CYCLE_S)
        self._approaches = [
            _Approach(heading, reach, self._dice.uniform(0.35, 0.9))
            for heading, reach in zip(_HEADINGS, _REACH, strict=True)
        ]
        self._ground = self._paint_ground()
        for _ in range(300):
            self._drive(0.1, self._offset_s)

    def paint(self, now_ms: int, number: int) -> Picture:
        """The picture at that Unix time, BGR."""
        phase_s = now_ms / 1000 + self._offset_s
        self._drive(1 / FPS, phase_s)
        picture = self._ground.copy()
        for index, approach in enumerate(self._approaches):
            for vehicle in approach.vehicles:
                self._paint_vehicle(picture, approach.heading, vehicle)
            self._paint_light(picture, approach.heading, _light(phase_s, index))
        self._paint_clock(picture, now_ms, number)
        return picture

    def _drive(self, step_s: float, phase_s: float) -> None:
        for index, approach in enumerate(self._approaches):
            approach.drive(_light(phase_s, index), step_s, self._dice)

    def _paint_ground(self) -> Picture:
        dice = self._dice
        noise = np.random.default_rng(dice.randrange(2**32))
        ground = np.full((HEIGHT, WIDTH, 3), dice.choice([(72, 118, 92), (88, 112, 104), (96, 104, 120)]), np.uint8)
        cx, cy = int(_CENTRE[0]), int(_CENTRE[1])
        for x in range(-10, WIDTH, 74):
            for y in range(-14, HEIGHT, 62):
                kind = dice.random()
                if kind < 0.55:
                    _house(ground, x + dice.randrange(10), y + dice.randrange(8), dice)
                elif kind < 0.9:
                    for _ in range(3):
                        _tree(ground, x + dice.randrange(60), y + dice.randrange(50), dice)
        pavement, asphalt, white = (150, 156, 160), (70, 70, 72), (225, 228, 228)
        for half, colour in ((_ROAD + 9, pavement), (_ROAD, asphalt)):
            cv2.rectangle(ground, (0, cy - half), (WIDTH, cy + half), colour, -1)
            cv2.rectangle(ground, (cx - half, 0), (cx + half, HEIGHT), colour, -1)
        for at in range(0, WIDTH, 26):
            if abs(at + 6 - cx) > 70:
                cv2.rectangle(ground, (at, cy - 1), (at + 13, cy + 1), white, -1)
            if abs(at + 6 - cy) > 70:
                cv2.rectangle(ground, (cx - 1, at), (cx + 1, at + 13), white, -1)
        for heading in _HEADINGS:
            left = np.array([heading[1], -heading[0]])
            for offset in range(-_ROAD + 5, _ROAD, 9):
                _box(ground, _CENTRE - heading * 54 + left * offset, heading, 12, 5, white)
            _box(ground, _CENTRE + heading * (_STOP - 3) + left * _ROAD / 2, heading, 3, _ROAD - 4, white)
        grain = noise.normal(0, 5, (HEIGHT, WIDTH, 1))
        light = dice.choice([(1.0, 1.0, 1.0), (0.86, 0.95, 1.04), (1.03, 0.98, 0.9)])
        return np.clip((ground + grain) * light, 0, 255).astype(np.uint8)

    def _paint_vehicle(self, picture: Picture, heading: NDArray[np.float64], vehicle: _Vehicle) -> None:
        left = np.array([heading[1], -heading[0]])
        middle = _CENTRE + heading * vehicle.at + left * _LANE
        _box(picture, middle + np.array([3, 4]), heading, vehicle.length, vehicle.width, (46, 46, 48))
        _box(picture, middle, heading, vehicle.length, vehicle.width, vehicle.paint)
        _box(
            picture,
            middle + heading * vehicle.length * 0.12,
            heading,
            vehicle.length * 0.24,
            vehicle.width * 0.8,
            (58, 48, 40),
        )
        lamp = (60, 60, 240) if vehicle.speed < _SPEED * 0.5 else (40, 40, 120)
        _box(picture, middle - heading * (vehicle.length / 2 - 1), heading, 2, vehicle.width, lamp)

    def _paint_light(self, picture: Picture, heading: NDArray[np.float64], light: str) -> None:
        left = np.array([heading[1], -heading[0]])
        foot = _CENTRE + heading * (_STOP + 2) + left * (_ROAD + 12)
        _box(picture, foot, heading, 34, 14, (30, 30, 30))
        for step, (name, colour) in enumerate(_LAMPS.items()):
            at = foot + heading * (10 - 10 * step)
            shown = colour if name == light else tuple(c // 5 for c in colour)
            cv2.circle(picture, (round(at[0]), round(at[1])), 4, shown, -1, cv2.LINE_AA)

    def _paint_clock(self, picture: Picture, now_ms: int, number: int) -> None:
        moment = datetime.fromtimestamp(now_ms / 1000, UTC)
        text = f"{self._camera}  {moment:%Y-%m-%d %H:%M:%S}.{now_ms // 100 % 10} UTC  #{number}"
        picture[HEIGHT - 30 :] = 24
        cv2.putText(picture, text, (8, HEIGHT - 14), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (235, 235, 235), 1, cv2.LINE_AA)
        bits = now_ms // 100 << 24 | number & 0xFFFFFF
        cells = np.array([bits >> shift & 1 for shift in reversed(range(CELLS))], np.uint8) * 255
        picture[HEIGHT - 8 :] = np.repeat(cells, WIDTH // CELLS)[None, :, None]


def _light(phase_s: float, approach: int) -> str:
    into_s = (phase_s + (_CYCLE_S / 2 if approach % 2 else 0)) % _CYCLE_S
    return "green" if into_s < _GREEN_S else "yellow" if into_s < _GREEN_S + _YELLOW_S else "red"


def _box(
    picture: Picture,
    middle: NDArray[np.float64],
    heading: NDArray[np.float64],
    length: float,
    width: float,
    colour: tuple[int, ...],
) -> None:
    half = np.abs(heading) * length / 2 + np.abs(heading[::-1]) * width / 2
    (x0, y0), (x1, y1) = np.round(middle - half).astype(int).tolist(), np.round(middle + half).astype(int).tolist()
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)


def _house(ground: Picture, x: int, y: int, dice: random.Random) -> None:
    width, height = dice.randrange(40, 62), dice.randrange(34, 50)
    roof = dice.choice([(62, 84, 168), (80, 100, 190), (120, 124, 130), (96, 120, 150), (70, 70, 120)])
    cv2.rectangle(ground, (x + 4, y + 5), (x + width + 4, y + height + 5), (48, 60, 56), -1)
    cv2.rectangle(ground, (x, y), (x + width, y + height), roof, -1)
    cv2.rectangle(ground, (x, y), (x + width, y + height // 2), tuple(min(255, c + 18) for c in roof), -1)
    cv2.line(ground, (x, y + height // 2), (x + width, y + height // 2), (40, 50, 70), 1)


def _tree(ground: Picture, x: int, y: int, dice: random.Random) -> None:
    radius = dice.randrange(7, 13)
    cv2.circle(ground, (x + 3, y + 4), radius, (44, 66, 50), -1, cv2.LINE_AA)
    cv2.circle(ground, (x, y), radius, (52, dice.randrange(104, 136), 62), -1, cv2.LINE_AA)
    cv2.circle(ground, (x - 2, y - 3), radius // 2, (70, dice.randrange(140, 165), 84), -1, cv2.LINE_AA)
