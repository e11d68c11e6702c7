"""What is fuzzed: each target takes any bytes and raises when something does not hold.

Where the bytes are the input itself, the fuzzer begins with seeds. Where they steer what hypothesis makes, it begins
with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.fuzz import checks, test_fuzz
from tests.fuzz.checks import NAMES, SAMPLES, SEGMENT, open_segment


@dataclass(frozen=True)
class Target:
    """`one_input` is called with any bytes; `seeds` are some that make sense."""

    one_input: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = ()


def _made(test: Any) -> Target:
    """The bytes steer what hypothesis makes for that test."""
    return Target(test.hypothesis.fuzz_one_input)


_OPEN: Final = open_segment()
_JSON: Final = tuple(path.read_bytes() for path in sorted(SAMPLES.glob("*.json")))
_TOPICS: Final = (b"simpang/v1/aloha/presence", b"simpang/v1/aloha/camera/north", b"simpang/v1/city/event")

TARGETS: Final[Mapping[str, Target]] = {
    "names": Target(checks.name, tuple(name.encode() for name in NAMES)),
    "topics": Target(checks.topic, _TOPICS),
    "boxes": Target(checks.boxes, (SEGMENT, _OPEN)),
    "bodies": Target(checks.body, (SEGMENT, *_JSON)),
    "torn": Target(checks.torn, (_OPEN, _OPEN[: len(_OPEN) // 2], SEGMENT)),
    "torn-made": _made(test_fuzz.test_a_start_with_anything_left_open),
    "agent-door": _made(test_fuzz.test_the_agent_door_answers_anything),
    "comparing": _made(test_fuzz.test_the_agent_door_compares_anything),
    "console": _made(test_fuzz.test_the_console_answers_anything),
    "now-lane": _made(test_fuzz.test_the_centre_hears_any_message),
    "wishes": _made(test_fuzz.test_an_agent_hears_any_wish),
}
