"""NAL units of H.264 and H.265, as far as telling pictures apart needs them; the camera imports it too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

_START = re.compile(b"\x00\x00\x00?\x01")
_MARK = bytes.fromhex("53494d50414e472d706963747572652d")
"""UUID of the SEI message (user data, unregistered) that carries a picture's running number."""


def split_annexb(data: bytes) -> Iterator[bytes]:
    """The NAL units between start codes."""
    starts = list(_START.finditer(data))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        yield data[start.end() : following.start() if following else len(data)]


def split_sized(data: bytes) -> Iterator[bytes]:
    """The NAL units behind four-byte lengths, as MP4 has them."""
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if not size:
            raise ValueError("a unit of no length")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _kind(unit: bytes, codec: str) -> str:
    if codec == "h264":
        number = unit[0] & 0x1F
        return "picture" if 1 <= number <= 5 else "sei" if number == 6 else "other"
    number = unit[0] >> 1 & 0x3F
    return "picture" if number < 32 else "sei" if number == 39 else "other"


def numbered(body: bytes, number: int, codec: str) -> bytes:
    """The picture (Annex B) with a SEI message in front of its first slice that holds `number`."""
    payload = _MARK + f"{number:012d}".encode()
    header = b"\x06" if codec == "h264" else b"\x4e\x01"
    sei = b"\x00\x00\x00\x01" + header + bytes([5, len(payload)]) + payload + b"\x80"
    for start in _START.finditer(body):
        if _kind(body[start.end() : start.end() + 2], codec) == "picture":
            return body[: start.start()] + sei + body[start.start() :]
    raise ValueError("no picture in this packet")


def picture_hash(units: Iterable[bytes], codec: str) -> str:
    """A hash of what makes the picture: its slices and our number; parameter sets may be repeated on the way."""
    digest = hashlib.sha256()
    for unit in units:
        kind = _kind(unit, codec)
        if kind == "picture" or (kind == "sei" and _MARK in unit):
            digest.update(unit.rstrip(b"\x00"))
    return digest.hexdigest()
