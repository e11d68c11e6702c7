#!/usr/bin/python3
"""A camera: serves one encoded clip in a loop over RTSP, in real time, and keeps a ledger of what it sent.

Run by the system's Python, which has Debian's GStreamer RTSP server:

    /usr/bin/python3 rtsp_camera.py CLIP [--port 0] [--mounts 1] [--ledger FILE] [--first NUMBER] [--eager]
        [--wraps-in SECONDS]

CLIP is a folder made by `clips.py`. The first line on stdout is the URL; with several mounts they end in 1, 2, ….
With `--eager` pictures are not kept back by as long as the session took to set up; with `--wraps-in` the 32-bit time
stamps of its packets begin anew that long after a session began.
Words on stdin control it: `run`; `stall`, sessions stay open and nothing comes, frames are gone as on a real camera;
`hum`, so with pictures only, sound still comes; `freeze`, the same picture for ever; `close`, it hangs up on everybody;
`ask USER PASSWORD`, it lets nobody else in, and `admit`, everybody again; `skip SECONDS`, its clock jumps by so much,
back if that is negative; `stop`. Each line is answered by itself.

Every picture is made unique by a SEI message with its running number, the first of which is NUMBER. The ledger has one
line per picture and receiver: number, receiver, seconds since the epoch when it was due, 1 for a key frame, the hash
that `clips.picture_hash` finds too. A camera that was stopped for a while sends all that was due, and is not a film of
the moment in which it does.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.rig import nal  # noqa: E402

PAYLOAD = {"h264": "rtph264pay", "hevc": "rtph265pay", "aac": "rtpmp4gpay", "pcm_alaw": "rtppcmapay"}


class Encoder(threading.Thread):
    """Plays the clip in a loop, in real time, to everybody who listens."""

    def __init__(self, clip: Path, ledger: Path | None, first: int = 1, *, eager: bool = False) -> None:
        super().__init__(daemon=True)
        index = json.loads((clip / "index.json").read_text())
        data = (clip / "packets.bin").read_bytes()
        self.video, self.audio, self.loop_s = index["video"], index["audio"], index["duration_s"]
        self.packets = [(p, data[p["at"] : p["at"] + p["size"]]) for p in index["packets"]]
        self.mode = "run"
        self.skipped_s = 0.0
        self.eager = eager
        self._first = first
        self.receivers: list[Receiver] = []
        self._ledger = ledger.open("w", buffering=1) if ledger else None

    def run(self) -> None:
        start, loop, number, frozen = time.monotonic(), 0, self._first - 1, None
        while True:
            for packet, body in self.packets:
                due_s = loop * self.loop_s + packet["dts_s"]
                time.sleep(max(0.0, start + due_s - time.monotonic()))
                at_s = time.time() - (time.monotonic() - start - due_s)
                pts_s = loop * self.loop_s + packet["pts_s"]
                is_video = packet["stream"] == "video"
                if is_video:
                    number += 1
                    if self.mode != "freeze":
                        frozen = None
                    elif frozen is None and packet["key"]:
                        frozen = body
                    body = nal.numbered(frozen or body, number, self.video["codec"])
                if self.mode == "stall" or (self.mode == "hum" and is_video):
                    continue
                key = packet["key"] or frozen is not None
                for receiver in list(self.receivers):
                    receiver.push(packet["stream"], body, pts_s, key, number, at_s)
            loop += 1

    def enter(self, number: int, receiver: int, key: bool, body: bytes, at_s: float) -> None:
        if self._ledger:
            digest = nal.picture_hash(nal.split_annexb(body), self.video["codec"])
            self._ledger.write(f"{number} {receiver} {at_s:.3f} {int(key)} {digest}\n")


class Receiver:
    """One session's end of the pipeline; begins with a key frame."""

    count = 0

    def __init__(self, encoder: Encoder, media: GstRtspServer.RTSPMedia) -> None:
        Receiver.count += 1
        self.number = Receiver.count
        self._encoder, self._media = encoder, media
        self._base_s: float | None = None
        self._skipped_s = 0.0
        bin_ = media.get_element()
        self._sources = {"video": bin_.get_child_by_name("video"), "audio": bin_.get_child_by_name("audio")}
        media.connect("unprepared", lambda _: self.leave())
        encoder.receivers.append(self)

    def leave(self) -> None:
        if self in self._encoder.receivers:
            self._encoder.receivers.remove(self)

    def let_go(self) -> None:
        """Pictures are not kept back until the time that they are for."""
        pipeline = self._media.get_element()
        while pipeline.get_parent() is not None:
            pipeline = pipeline.get_parent()
        pipeline.iterate_sinks().foreach(lambda sink: sink.set_property("sync", False))

    def push(self, stream: str, body: bytes, pts_s: float, key: bool, number: int, at_s: float) -> None:
        source = self._sources[stream]
        first = "video" if self._sources["video"] else "audio"
        if source is None or (self._base_s is None and not (stream == first and key)):
            return
        if self._base_s is None:
            self._base_s = pts_s - 0.1
            self._skipped_s = self._encoder.skipped_s
        if pts_s < self._base_s:
            return
        if key and self._encoder.eager:
            self.let_go()
        buffer = Gst.Buffer.new_wrapped(body)
        skipped_s = self._encoder.skipped_s - self._skipped_s
        buffer.pts = max(0, round((pts_s - self._base_s + skipped_s) * Gst.SECOND))
        if source.emit("push-buffer", buffer) == Gst.FlowReturn.OK and stream == "video":
            self._encoder.enter(number, self.number, key, body, at_s)


class Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """Makes the pipeline of a session: appsrc and payloader per stream of the clip."""

    def __init__(self, encoder: Encoder, wraps_in_s: float | None) -> None:
        super().__init__()
        self._encoder = encoder
        self._offset = "" if wraps_in_s is None else f"timestamp-offset={2**32 - round(wraps_in_s * 90_000)}"
        self.set_shared(True)

    def do_create_element(self, _url: object) -> Gst.Element:
        parts: list[str] = []
        for name, stream in (("video", self._encoder.video), ("audio", self._encoder.audio)):
            if stream is not None:
                number = len(parts)
                payload_type = 8 if stream["codec"] == "pcm_alaw" else 96 + number
                offset = self._offset if name == "video" else ""
                parts.append(
                    f'appsrc name={name} is-live=true format=time max-bytes=20000000 caps="{stream["caps"]}" '
                    f"! {PAYLOAD[stream['codec']]} name=pay{number} pt={payload_type} {offset}"
                )
        return Gst.parse_launch(f"( {' '.join(parts)} )")

    def do_configure(self, media: GstRtspServer.RTSPMedia) -> None:
        Receiver(self._encoder, media)


def serve(options: argparse.Namespace) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address=options.address, service=str(options.port))
    paths = ["/camera"] if options.mounts == 1 else [f"/camera{n + 1}" for n in range(options.mounts)]
    encoders = []
    for number, path in enumerate(paths):
        ledger = options.ledger and (options.ledger if number == 0 else options.ledger.with_suffix(f".{number + 1}"))
        encoder = Encoder(options.clip, ledger, options.first, eager=options.eager)
        factory = Factory(encoder, options.wraps_in)
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", right, True)
        factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
        encoders.append(encoder)
    server.attach(None)
    for encoder in encoders:
        encoder.start()
    loop = GLib.MainLoop()

    def hang_up() -> bool:
        server.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REMOVE)
        return False

    def ask(user: str, password: str) -> bool:
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(2)  # digest, which is nameless in the bindings
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(user, password, token)
        server.set_auth(auth)
        return False

    def control() -> None:
        for line in sys.stdin:
            word, *arguments = line.split()
            if word == "stop":
                break
            if word == "close":
                GLib.idle_add(hang_up)
            if word == "ask":
                ask(*arguments)
            if word == "admit":
                server.set_auth(None)
            for encoder in encoders:
                if word == "skip":
                    for receiver in list(encoder.receivers):
                        receiver.let_go()
                    encoder.skipped_s += float(arguments[0])
                if word in ("run", "stall", "hum", "freeze"):
                    encoder.mode = word
            print(line.strip(), flush=True)
        loop.quit()

    threading.Thread(target=control, daemon=True).start()
    print(f"rtsp://{options.address}:{server.get_bound_port()}/camera", flush=True)
    loop.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--mounts", type=int, default=1)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--wraps-in", type=float)
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
