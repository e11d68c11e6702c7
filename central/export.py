"""One playable MP4 of an interval, by packet copy, and the list of what is missing in it.

The file starts at 0 with the first segment that reaches into the interval and plays through: holes between segments are
cut out, not shown as a frozen picture. The list tells where in the file each hole was, so that the wall-clock time of
every picture can be told.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from central.archive import Archive
from central.core.dating import Dating
from central.core.timeline import Footage, State, place, played
from central.errors import CentralError, NothingThere
from central.history import camera_timeline
from central.store import Store
from edge_agent.contract import Instant, LossCause, Message, instant


class Part(Message):
    """A stretch of the file that plays without a break, all of its times known in one way."""

    at_s: float
    """Where it begins in the file."""
    from_at: Instant
    to_at: Instant
    dating: Dating
    """How these times are known."""
    error_s: float | None = None
    """How far they may be off, where they are bounded and that is known."""


class Missing(Message):
    """A stretch of the interval that is not in the file."""

    at_s: float
    """Where in the file it would be."""
    from_at: Instant
    to_at: Instant
    state: str
    cause: LossCause | None
    detail: str


class Export(Message):
    """What an exported file holds and lacks; written beside it as JSON."""

    site: str
    camera: str
    from_at: Instant
    to_at: Instant
    duration_s: float
    parts: tuple[Part, ...]
    holes: tuple[Missing, ...]


def export(
    store: Store,
    archive: Archive,
    site: str,
    camera: str,
    from_ms: int,
    to_ms: int,
    now_ms: int,
    target: Path,
    progress: Callable[[int, int], None],
) -> Export:
    """Write `target` and `<target>.holes.json`; `progress` is told the segments done and their number.

    NothingThere when there is no footage; CentralError when the format of the picture changes within the interval or
    the file cannot be written; StoreDown, ArchiveDown.
    """
    footage = played(place(store.footage(site, camera, from_ms, to_ms)))
    placed = [p for p in footage if p.start_ms < to_ms and p.end_ms > from_ms]
    if not placed:
        raise NothingThere(
            f"there is no footage of {site}/{camera} from {instant(from_ms):%F %T} to {instant(to_ms):%F %T} UTC",
            "`central completeness` tells what there is",
        )
    draft = target.with_name(target.name + ".part")
    parts: list[Part] = []
    previous: Footage | None = None
    try:
        with closing(_Joint(draft)) as joint:
            for number, (start_ms, end_ms, segment) in enumerate(placed):
                progress(number, len(placed))
                row = store.item(site, segment.run, segment.sequence)
                assert row is not None  # noqa: S101 - rows are never deleted
                continues = previous is not None and segment.continues(previous)
                if not continues or parts[-1].dating is not segment.dating:
                    begin = {"from_at": instant(start_ms), "to_at": instant(end_ms), "dating": segment.dating}
                    error_s = None if segment.error_ms is None else segment.error_ms / 1000
                    parts.append(Part(at_s=float(joint.length_s), **begin, error_s=error_s))
                if not joint.append(archive.read(row.object, row.offset, row.length), continues=continues):
                    when = instant(start_ms)
                    raise CentralError(
                        f"the format of the picture changes at {when:%F %T} UTC", "export what is before and after it"
                    )
                parts[-1] = parts[-1].model_copy(update={"to_at": instant(end_ms)})
                previous = segment
            progress(len(placed), len(placed))
            duration_s = float(joint.length_s)
        draft.replace(target)
        done = Export(
            site=site,
            camera=camera,
            from_at=instant(from_ms),
            to_at=instant(to_ms),
            duration_s=duration_s,
            parts=tuple(parts),
            holes=tuple(
                Missing(
                    at_s=next((part.at_s for part in parts if part.from_at >= instant(i.to_ms)), duration_s),
                    from_at=instant(i.from_ms),
                    to_at=instant(i.to_ms),
                    state=i.state,
                    cause=i.cause,
                    detail=i.detail,
                )
                for i in camera_timeline(store, site, camera, from_ms, to_ms, now_ms)
                if i.state is not State.RECORDED
            ),
        )
        target.with_name(target.name + ".holes.json").write_bytes(done.to_json() + b"\n")
    except (OSError, FFmpegError) as error:
        raise CentralError(f"cannot write {target}: {error.strerror}", "choose another place with -o") from error
    finally:
        draft.unlink(missing_ok=True)
    return done


class _Joint:
    """An MP4 file that segments are joined in, one behind the other."""

    def __init__(self, path: Path) -> None:
        self._output = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._streams: dict[str, Stream] = {}
        self._last_dts: dict[str, int] = {}
        self._format: object = None
        self._shift_s = Fraction(0)
        self.length_s = Fraction(0)

    def close(self) -> None:
        """Write what is left."""
        self._output.close()

    def append(self, data: bytes, *, continues: bool) -> bool:
        """The segment plays after what is there; false, and nothing done, when its picture has another format."""
        with av.open(io.BytesIO(data), "r", format="mp4") as segment:
            video = segment.streams.video[0]
            picture = (video.codec_context.name, video.width, video.height, video.codec_context.extradata)
            if self._format is None:
                self._open_streams(segment)
                self._format = picture
            if picture != self._format:
                return False
            self._copy(segment, continues=continues)
        return True

    def _open_streams(self, segment: InputContainer) -> None:
        for stream in (*segment.streams.video[:1], *segment.streams.audio[:1]):
            copy = self._output.add_stream_from_template(stream)
            copy.time_base = stream.time_base
            if stream.codec_context.name == "hevc":
                copy.codec_context.codec_tag = "hvc1"  # what Apple's players want
            self._streams[stream.type] = copy

    def _copy(self, segment: InputContainer, *, continues: bool) -> None:
        first = True
        wanted = [s for s in segment.streams if s.type in self._streams]
        for packet in segment.demux(wanted):
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            kind = packet.stream.type
            if first and not continues:
                self._shift_s = self.length_s - packet.dts * packet.time_base
            first = False
            shift = round(self._shift_s / packet.time_base)
            packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
            if packet.dts <= self._last_dts.get(kind, -1):
                continue  # sound of a new session that reaches back into the one before
            self._last_dts[kind] = packet.dts
            if kind == "video":
                self.length_s = max(self.length_s, (packet.dts + (packet.duration or 0)) * packet.time_base)
            packet.stream = self._streams[kind]
            self._output.mux(packet)
