"""A real RTSP camera with its ledger, and what of it lies in the archive, compared picture by picture."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import av

from tests.rig import clips, nal
from tests.rig.clips import Clip
from tests.rig.parts import SYSTEM_PYTHON

_PROGRAM: Final = Path(nal.__file__).with_name("rtsp_camera.py")


class Sent(NamedTuple):
    """One picture that the camera sent to a receiver."""

    number: int
    receiver: int
    at_s: float
    is_key: bool
    digest: str


@dataclass(frozen=True)
class Camera:
    """A camera that runs; see rtsp_camera.py for its words."""

    url: str
    ledger: Path
    process: subprocess.Popen[str]

    def say(self, word: str) -> None:
        """It does so from now on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == word

    def sent(self) -> list[Sent]:
        """What it sent so far."""
        lines = (line.split() for line in self.ledger.read_text().splitlines())
        return [Sent(int(n), int(r), float(at), key == "1", digest) for n, r, at, key, digest in lines]


@contextlib.contextmanager
def camera(
    clip: Path, folder: Path, prefix: Sequence[str | Path] = (), options: Sequence[str] = ()
) -> Iterator[Camera]:
    """A camera that plays the clip; `prefix` is what its command begins with, for a network of its own."""
    ledger = folder / "camera.ledger"
    command = [*prefix, SYSTEM_PYTHON, _PROGRAM, clip, "--ledger", ledger, *options]
    with (folder / "camera.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield Camera(process.stdout.readline().strip(), ledger, process)
        finally:
            process.terminate()


def archived_pictures(files: Iterable[Path], codec: str) -> Counter[str]:
    """How often each picture is in the files."""
    return Counter(
        nal.picture_hash(nal.split_sized(bytes(packet)), codec) for file in files for packet in _video_packets(file)
    )


def _video_packets(file: Path) -> Iterator[av.Packet[Any]]:
    with av.open(str(file)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield packet


def clip_of(file: Path, folder: Path) -> tuple[Clip, Path]:
    """The first seconds of a real file as a clip, not encoded again; without its sound."""
    with av.open(str(file)) as container:
        video = container.streams.video[0]
        codec, rate = video.codec_context.name, video.average_rate or 25
    clip = Clip(codec=codec, fps=str(rate), seconds=20)
    cut = folder / "cut.mov"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(file), "-t", "20", "-an", "-c", "copy", str(cut)]
    subprocess.run(command, check=True)
    made = folder / "clip"
    made.mkdir()
    clips.unpack(clip, cut, made)
    return clip, made
