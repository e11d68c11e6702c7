"""Encoded clips for the RTSP camera, made with ffmpeg once and kept in a cache."""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "clips"


@dataclass(frozen=True)
class Clip:
    """What to encode. The name of the clip follows from it."""

    codec: str = "h264"
    audio: str | None = None
    width: int = 320
    height: int = 240
    fps: str = "25"
    gop: int = 25
    bframes: int = 0
    seconds: int = 4
    bitrate: str = "300k"

    @property
    def name(self) -> str:
        size = f"{self.width}x{self.height}-{self.fps.replace('/', '-')}"
        return f"{self.codec}-{self.audio}-{size}-g{self.gop}-b{self.bframes}-{self.seconds}s-{self.bitrate}"


H264 = Clip()
BENCH = Clip(width=1920, height=1080, gop=50, seconds=20, bitrate="4M", audio=None)
AUDIO_ONLY = Clip(codec="none", audio="pcm_alaw")


def make(clip: Clip, cache: Path = CACHE) -> Path:
    """The folder with the clip's packets in decode order (Annex B), encoded now unless the cache has it."""
    folder = cache / clip.name
    if not (folder / "index.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            file, made = Path(scratch) / "clip.mov", Path(scratch) / "made"
            made.mkdir()
            subprocess.run(_ffmpeg(clip, file), check=True)
            unpack(clip, file, made)
            with suppress(OSError):  # somebody else has made it meanwhile
                made.rename(folder)
    return folder


def first_size(folder: Path) -> int:
    """Length of the first packet, a key frame, in bytes."""
    return int(json.loads((folder / "index.json").read_text())["packets"][0]["size"])


def _ffmpeg(clip: Clip, file: Path) -> list[str]:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    if clip.codec != "none":
        picture = f"testsrc2=size={clip.width}x{clip.height}:rate={clip.fps},noise=alls=12:allf=t"
        command += ["-f", "lavfi", "-i", picture]
    if clip.audio:
        command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={16000 if clip.audio == 'aac' else 8000}"]
    if clip.codec == "h264":
        command += ["-c:v", "libx264", "-preset", "superfast", "-bf", str(clip.bframes), "-sc_threshold", "0"]
    elif clip.codec == "hevc":
        x265 = f"keyint={clip.gop}:min-keyint={clip.gop}:scenecut=0:bframes={clip.bframes}"
        x265 += ":repeat-headers=1:open-gop=0:log-level=error"
        command += ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", x265]
    if clip.codec != "none":
        rate = ["-b:v", clip.bitrate, "-maxrate", clip.bitrate, "-bufsize", clip.bitrate]
        command += [*rate, "-g", str(clip.gop), "-pix_fmt", "yuv420p", "-threads", "2"]
    if clip.audio:
        command += ["-c:a", clip.audio, "-ac", "1"]
    return [*command, "-t", str(clip.seconds), "-f", "mov", str(file)]


def unpack(clip: Clip, file: Path, folder: Path) -> None:
    """The packets of an encoded file are in `folder`, with the list of their times that the test camera plays."""
    entries: list[dict[str, object]] = []
    body = bytearray()
    with av.open(str(file)) as container:
        video = next(iter(container.streams.video), None)
        audio = next(iter(container.streams.audio), None)
        annexb = BitStreamFilterContext(f"{clip.codec}_mp4toannexb", video) if video else None
        for packet in container.demux():
            if packet.size == 0:
                continue
            kind, is_key, pts, dts = packet.stream.type, packet.is_keyframe, packet.pts, packet.dts
            assert pts is not None
            assert dts is not None
            pts_s, dts_s = float(pts * packet.time_base), float(dts * packet.time_base)
            parts = annexb.filter(packet) if annexb and kind == "video" else [packet]
            data = b"".join(bytes(part) for part in parts)
            entries.append(
                {"stream": kind, "dts_s": dts_s, "pts_s": pts_s, "key": is_key, "at": len(body), "size": len(data)}
            )
            body += data
        index = {
            "duration_s": _duration_s(clip, entries),
            "video": video and {"codec": clip.codec, "caps": _video_caps(clip)},
            "audio": audio and {"codec": clip.audio, "caps": _audio_caps(clip, audio.codec_context.extradata or b"")},
            "packets": sorted(entries, key=lambda entry: entry["dts_s"]),  # type: ignore[arg-type,return-value]
        }
    (folder / "packets.bin").write_bytes(body)
    (folder / "index.json").write_text(json.dumps(index))


def _duration_s(clip: Clip, entries: list[dict[str, object]]) -> float:
    pictures = sum(entry["stream"] == "video" for entry in entries)
    return pictures / eval_rate(clip.fps) if pictures else clip.seconds


def eval_rate(fps: str) -> float:
    """Frames per second of a rate such as 30000/1001."""
    over, _, under = fps.partition("/")
    return float(over) / float(under or 1)


def _video_caps(clip: Clip) -> str:
    kind = {"h264": "video/x-h264", "hevc": "video/x-h265"}[clip.codec]
    return f"{kind},stream-format=byte-stream,alignment=au"


def _audio_caps(clip: Clip, extradata: bytes) -> str:
    if clip.audio == "aac":
        return f"audio/mpeg,mpegversion=4,stream-format=raw,rate=16000,channels=1,codec_data=(buffer){extradata.hex()}"
    return "audio/x-alaw,rate=8000,channels=1"
