"""A site played by hand: it comes in through the real doors of a real centre, and does what a test wants to be seen."""

from __future__ import annotations

import io
import socket
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final, Literal

import av
import cv2
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.camera.scene import HEIGHT, WIDTH, Crossing
from edge_agent.contract import (
    BATTERY,
    CAMERA,
    EVENT,
    HOST,
    ITEM_PATH,
    LINK,
    POWER,
    PRESENCE,
    SPOOL,
    Battery,
    CameraState,
    ClockQuality,
    Event,
    EventData,
    EventType,
    Host,
    ItemKind,
    ItemName,
    Link,
    LinkPart,
    LossCause,
    Message,
    Picture,
    Power,
    Presence,
    PresenceState,
    Reach,
    SegmentFacts,
    SpoolState,
    Step,
    Supply,
    Topic,
    content_digest,
    facts_box,
    instant,
    run_id,
    whole_boxes,
)
from tests.rig.city import City
from tests.rig.processes import until
from tests.rig.segments import make_item

RUN: Final = run_id(1, "hand")
SEGMENT_MS: Final = 4000
_FPS = 5
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Hand:
    """One enrolled site, connected to the broker as its agent would be; closing it cuts the line without a goodbye."""

    def __init__(self, city: City, site: str, name: str) -> None:
        told = tomllib.loads(city.central("enrol", site, "--name", name, "--lat", "-6.99", "--lon", "110.42"))
        self.site = site
        self._url: str = told["centre"]["url"].rstrip("/")
        self._token: str = told["centre"]["token"]
        self._prefix: str = told["broker"]["prefix"]
        self._sequence = 0
        self._sessions: dict[str, int] = {}
        self._crossings: dict[str, Crossing] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=site, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(site, self._token)
        will = Presence(state=PresenceState.OFFLINE, run=RUN, at=instant(now_ms()))
        self._client.will_set(PRESENCE.path(self._prefix, site), will.to_json(), qos=1, retain=True)
        # The broker learns of a new site a moment after the enrolment; the client tries until it is let in.
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(told["broker"]["host"], told["broker"]["port"], keepalive=60)
        self._client.loop_start()
        until(self._client.is_connected, 15, f"the broker lets {site} in")

    def vanish(self) -> None:
        """The line is dead at once; the broker tells the will."""
        line = self._client.socket()
        assert isinstance(line, socket.socket)
        self._client.loop_stop()
        line.shutdown(socket.SHUT_RDWR)
        line.close()

    def leave(self) -> None:
        """The test is over."""
        self._client.disconnect()
        self._client.loop_stop()

    # --- what it says ---

    def say(self, topic: Topic, message: Message, camera: str | None = None) -> None:
        path = topic.path(self._prefix, self.site, camera)
        self._client.publish(path, message.to_json(), qos=1, retain=topic.retained).wait_for_publish(5)

    def presence(self, state: PresenceState) -> None:
        self.say(PRESENCE, Presence(state=state, run=RUN, at=instant(now_ms())))

    def power(self, supply: Supply, charge: float, runtime_s: float | None = None, step: Step = Step.FULL) -> None:
        at = instant(now_ms())
        band = (None, None) if runtime_s is None else (runtime_s * 0.85, runtime_s * 1.15)
        self.say(
            POWER,
            Power(
                supply=supply,
                charge_percent=charge,
                voltage_v=12.6,
                runtime_s=runtime_s,
                runtime_low_s=band[0],
                runtime_high_s=band[1],
                source="gpio",
                step=step,
                since=at,
                at=at,
            ),
        )

    def battery(self, full_runtime_s: float) -> None:
        """What its discharges taught."""
        band = {"full_runtime_low_s": full_runtime_s * 0.85, "full_runtime_high_s": full_runtime_s * 1.15}
        self.say(BATTERY, Battery(known=True, full_runtime_s=full_runtime_s, **band, at=instant(now_ms())))

    def link(self, broken: LinkPart = LinkPart.NONE) -> None:
        at = instant(now_ms())
        parts = [LinkPart.PORT, LinkPart.UPLINK, LinkPart.CENTRE, LinkPart.BROKER]
        reach = {part.value: Reach.UP if part is not broken else Reach.DOWN for part in parts}
        self.say(LINK, Link(broken=broken, **reach, interface="eth0", rtt_ms=4.2, since=at, at=at))

    def spool(self, oldest_unsent_ms: int | None = None, backlog_s: float = 0, eta_s: float | None = None) -> None:
        self.say(
            SPOOL,
            SpoolState(
                backlog_items=round(backlog_s / 4),
                backlog_s=backlog_s,
                backlog_bytes=round(backlog_s * 500_000),
                oldest_unsent_at=instant(oldest_unsent_ms) if oldest_unsent_ms else None,
                used_bytes=8_000_000_000,
                free_bytes=24_000_000_000,
                sent_bytes_per_s=1_900_000 if eta_s else 0,
                drain_eta_s=eta_s,
                at=instant(now_ms()),
            ),
        )

    def camera(self, camera: str, cause: LossCause | None = None) -> None:
        at = instant(now_ms())
        state = CameraState(
            camera=camera,
            recording=cause is None,
            cause=cause,
            codec="h264",
            width=WIDTH,
            height=HEIGHT,
            fps=_FPS,
            bitrate_bps=800_000,
            last_frame_at=at,
            picture=Picture.OK,
            since=at,
            at=at,
        )
        self.say(CAMERA, state, camera)

    def well(self, *cameras: str) -> None:
        """All is as it should be."""
        self.presence(PresenceState.ONLINE)
        self.power(Supply.MAINS, 100)
        self.link()
        self.spool()
        self.say(HOST, Host(temperature_c=51.5, load_1m=0.4, clock=ClockQuality.SYNCED, at=instant(now_ms())))
        for camera in cameras:
            self.camera(camera)

    def happened(self, kind: EventType, at_ms: int, **data: Any) -> None:
        event = Event(
            id=f"{self.site}-{at_ms}",
            source=f"/sites/{self.site}",
            type=kind,
            time=instant(at_ms),
            data=EventData(run=RUN, **data),
        )
        self.say(EVENT, event)

    # --- what it sends ---

    def record(
        self, camera: str, from_ms: int, to_ms: int, codec: Literal["h264", "hevc"] = "h264", **gap: Any
    ) -> None:
        """One session of the camera, in segments; `gap` are facts of its first one."""
        session = self._sessions[camera] = self._sessions.get(camera, 0) + 1
        crossing = self._crossings.setdefault(camera, Crossing(f"{self.site} {camera}"))
        for start_ms in range(from_ms, to_ms, SEGMENT_MS):
            media = _film(crossing, codec, start_ms, start_ms - from_ms)
            init_bytes = sum(box.size for box in whole_boxes(media) if box.type in {"ftyp", "moov"})
            facts = SegmentFacts(
                codec=codec,
                width=WIDTH,
                height=HEIGHT,
                session=session,
                media_start_ms=start_ms - from_ms,
                monotonic_ms=start_ms - from_ms,
                packets=SEGMENT_MS * _FPS // 1000,
                init_bytes=init_bytes,
                media_bytes=len(media) - init_bytes,
                **(gap if start_ms == from_ms else {}),
            )
            data = media + facts_box(facts)
            self._put(make_item(ItemKind.SEGMENT, data, RUN, self._next(), camera, start_ms, SEGMENT_MS), data)

    def snapshot(self, camera: str, at_ms: int) -> None:
        """A picture of the camera."""
        crossing = self._crossings.setdefault(camera, Crossing(f"{self.site} {camera}"))
        done, jpeg = cv2.imencode(".jpg", crossing.paint(at_ms, 0))
        assert done
        data = jpeg.tobytes()
        self._put(make_item(ItemKind.SNAPSHOT, data, RUN, self._next(), camera, at_ms), data)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _put(self, name: ItemName, data: bytes) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Digest": content_digest(name.sha256)}
        request = urllib.request.Request(f"{self._url}{ITEM_PATH}{name}", data, headers, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 201


def _film(crossing: Crossing, codec: str, start_ms: int, media_start_ms: int) -> bytes:
    """Four seconds of the crossing as the recorder would have muxed them, with the time burnt in."""
    file = io.BytesIO()
    options = {"movflags": "cmaf+frag_keyframe+frag_discont+skip_trailer", "avoid_negative_ts": "disabled"}
    with av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream(
            _ENCODERS[codec],
            rate=_FPS,
            options={"preset": "ultrafast", "x264-params": "log-level=none", "x265-params": "log-level=none"},
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size, stream.max_b_frames = _FPS, 0
        if codec == "hevc":
            stream.codec_context.codec_tag = "hvc1"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for packet in _packets(stream, crossing, start_ms, media_start_ms):
            packet.duration = 1000 // _FPS
            container.mux(packet)
    return file.getvalue()


def _packets(stream: Any, crossing: Crossing, start_ms: int, media_start_ms: int) -> Iterator[Any]:
    for at_ms in range(0, SEGMENT_MS, 1000 // _FPS):
        frame = av.VideoFrame.from_ndarray(crossing.paint(start_ms + at_ms, media_start_ms + at_ms), format="bgr24")
        frame.pts, frame.time_base = media_start_ms + at_ms, Fraction(1, 1000)
        yield from stream.encode(frame)
    yield from stream.encode()
