"""Input that nobody would send, made by hypothesis; `make fuzz` goes on from here, led by the code that is reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.contract import DEFAULT_PREFIX, HELLO_PATH, INVENTORY_PATH, ITEM_PATH, TOPICS, ItemKind, content_digest
from tests.fuzz import checks
from tests.fuzz.checks import NAME, NAMES, SAMPLES, SEGMENT
from tests.fuzz.doors import Agent, Asked, Centre
from tests.rig.segments import RUN, make_item

_T = TypeVar("_T")

# The same inputs in each run: a test that is red is red again. Chance is the business of `make fuzz`.
settings.register_profile(
    "fuzz", deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
some = settings(settings.get_profile("fuzz"), max_examples=100)
many = settings(settings.get_profile("fuzz"), max_examples=300)


@cache
def centre() -> Centre:
    """One for all tests of this process: to make its tables takes longer than to ask it a hundred times."""
    return Centre()


@cache
def agent() -> Agent:
    """One for all tests of this process, too."""
    return Agent()


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    for opened in (centre, agent):
        if opened.cache_info().currsize:
            opened().close()
            opened.cache_clear()


# --- bytes ---


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them changed, a piece moved elsewhere, an end cut off."""

    def damage(cuts: tuple[int, int], flips: list[tuple[int, int]], splice: tuple[int, int, int], how: int) -> bytes:
        data = bytearray(whole)
        for at, value in flips:
            data[at] = value
        if how == 1:
            at, start, length = splice
            data[at:at] = data[start : start + length]
        if how == 2:
            at, start, length = splice
            del data[at : at + length]
        return bytes(data[: cuts[0]] if how == 3 else data)

    place = st.integers(0, len(whole) - 1)
    return st.builds(
        damage,
        st.tuples(place, place),
        st.lists(st.tuples(place, st.integers(0, 255)), max_size=8),
        st.tuples(place, place, st.integers(1, 200)),
        st.integers(0, 3),
    )


def one_of_or(known: list[_T], other: st.SearchStrategy[_T]) -> st.SearchStrategy[_T]:
    """Mostly something known, else something else."""
    return st.one_of(st.sampled_from(known), st.sampled_from(known), other)


OPEN: Final = checks.open_segment()
spelled = one_of_or(NAMES, st.text(max_size=200)).flatmap(
    lambda text: st.one_of(st.just(text.encode()), damaged(text.encode() or b"x"))
)


@many
@given(data=spelled)
def test_a_name_has_one_spelling(data: bytes) -> None:
    checks.name(data)


@many
@given(data=st.one_of(damaged(SEGMENT), damaged(OPEN), st.binary(max_size=200)))
def test_boxes_and_facts_of_anything(data: bytes) -> None:
    checks.boxes(data)


@some
@given(data=st.one_of(damaged(OPEN), damaged(OPEN), st.binary(max_size=200)))
def test_a_start_with_anything_left_open(data: bytes) -> None:
    checks.torn(data)


# --- JSON ---

TIMES: Final = [
    "2026-11-24T03:04:05.678Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1969-12-31T23:59:59Z",
    "2026-06-30T23:59:60Z",
]
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1e308, "", "north", RUN, "\0", "\ud800", *TIMES]),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
BODIES: Final = {path.stem: json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json"))}


def changed(body: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The JSON object with some values replaced, and some in what stands one level below."""
    below = {key for inner in map(_inner, body.values()) for key in inner}
    value = st.one_of(st.sampled_from(TIMES), values)

    def change(replaced: dict[str, Any], inside: dict[str, Any]) -> bytes:
        made = {key: _put_inside(old, inside) for key, old in body.items()} | replaced
        return json.dumps(made).encode()

    top = st.dictionaries(st.sampled_from(sorted(body)), value, max_size=2)
    return st.builds(change, top, st.dictionaries(st.sampled_from(sorted(below) or ["x"]), value, max_size=2))


def _inner(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and value:
        return _inner(value[0])
    return value if isinstance(value, dict) else {}


def _put_inside(value: Any, inside: dict[str, Any]) -> Any:
    """Those of `inside` that belong there, in the object or in the first of a list of objects."""
    if isinstance(value, list) and value:
        return [_put_inside(value[0], inside), *value[1:]]
    return value | {key: inside[key] for key in inside if key in value} if isinstance(value, dict) else value


bodies = st.sampled_from(list(BODIES.values())).flatmap(changed)
payloads = st.one_of(bodies, bodies, st.binary(max_size=60))


@many
@given(data=st.one_of(payloads, damaged(SEGMENT)))
def test_the_centre_judges_any_body(data: bytes) -> None:
    checks.body(data)


# --- the now lane ---

words = one_of_or(["aloha", "north", "city", "nowhere", ""], st.text(max_size=12))


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """Something like a message of a site: mostly one that belongs to its topic."""
    topic = draw(st.sampled_from(TOPICS))
    spoken = [body for stem, body in BODIES.items() if stem.partition("-")[0] == topic.group]
    payload = draw(st.one_of(st.sampled_from(spoken).flatmap(changed), payloads))
    path = topic.path(DEFAULT_PREFIX, draw(one_of_or(["aloha"], words)), draw(one_of_or(["north"], words)))
    return draw(one_of_or([path], st.text(max_size=40))), payload


@some
@given(message=messages(), retained=st.booleans())
def test_the_centre_hears_any_message(message: tuple[str, bytes], retained: bool) -> None:
    topic, payload = message
    checks.topic(topic.encode(errors="surrogateescape"))
    centre().told(topic, payload, retained=retained)


@some
@given(payload=st.one_of(changed(BODIES["wish"]), payloads))
def test_an_agent_hears_any_wish(payload: bytes) -> None:
    agent().hears(payload)


# --- HTTP ---


def header(name: str, known: list[str]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """The header with a value that means something, or with any that a server lets through."""
    value = one_of_or(known, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30))
    return st.builds(lambda text: (name.encode(), text.encode("latin-1")), value)


methods = one_of_or(["GET", "PUT"], st.sampled_from(["POST", "HEAD", "DELETE", "OPTIONS", "PATCH", "X"]))
NUMBERS: Final = ["0", "1", "-1", "1e3", "+5", str(2**63), "9" * 5000, str(len(SEGMENT))]


@st.composite
def uploads(draw: st.DrawFn) -> Asked:
    """Something like an upload of an agent."""
    data = draw(st.one_of(st.just(SEGMENT), damaged(SEGMENT), payloads))
    kind = draw(st.sampled_from(ItemKind))
    sequence = draw(st.integers(0, 5))
    named = make_item(kind, data, sequence=sequence, camera=draw(st.sampled_from(["site", "north"])))
    path = draw(one_of_or([str(named)], st.one_of(st.just(str(NAME)), st.text(max_size=40), spelled.map(repr))))
    headers = [
        draw(header("authorization", [f"Bearer {centre().world.token}"] * 5)),
        draw(header("content-length", [str(len(data)), *NUMBERS])),
    ]
    if draw(st.booleans()):
        headers.append(draw(header("content-digest", [content_digest(named.sha256)] * 3)))
    cut = draw(st.integers(0, len(data)))
    return Asked(
        draw(one_of_or(["PUT"], methods)),
        draw(one_of_or([ITEM_PATH + path], st.sampled_from([HELLO_PATH, "/healthz", "/", path]))),
        headers=tuple(headers),
        chunks=(data[:cut], data[cut:]),
        gone=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """Something like what an agent asks when it compares what it holds."""
    numbers = st.one_of(st.integers(-1, 9), st.sampled_from([99_999_999, 10**8, 2**31, 2**63]))
    part = BODIES["inventory"]["ranges"][0] | {"run": RUN}
    changes = st.dictionaries(st.sampled_from(sorted(part)), st.one_of(numbers, numbers, values), max_size=3)
    ranges = [part | change for change in draw(st.lists(changes, max_size=4))]
    body = draw(st.one_of(st.just(json.dumps({"ranges": ranges}).encode()), changed(BODIES["inventory"]), payloads))
    known = [RUN, "000009zzzz"]
    return Asked(
        draw(one_of_or(["POST"], methods)),
        draw(one_of_or([INVENTORY_PATH], st.sampled_from([HELLO_PATH, ITEM_PATH]))),
        query=urlencode({"run": draw(one_of_or(known, st.text(max_size=20)))}, errors="replace").encode(),
        headers=(draw(header("authorization", [f"Bearer {centre().world.token}"] * 5)),),
        chunks=(body,),
        gone=draw(st.sampled_from([False, False, False, True])),
    )


@some
@given(asked=st.one_of(uploads(), uploads(), questions()))
def test_the_agent_door_answers_anything(asked: Asked) -> None:
    centre().agent_asks(asked)


@st.composite
def comparisons(draw: st.DrawFn) -> Asked:
    """Something like an inventory of an agent, or the question who it is and what is known of its run."""
    token = draw(header("authorization", [f"Bearer {centre().world.token}"] * 5))
    body = draw(st.one_of(changed(BODIES["inventory"]), payloads))
    query = draw(st.sampled_from([b"", b"run=" + RUN.encode(), b"run=%FF&run=x"]))
    method, path = draw(one_of_or([("POST", INVENTORY_PATH)], st.tuples(methods, st.just(HELLO_PATH))))
    return Asked(method, path, query, (token,), (body,), draw(st.sampled_from([False, False, False, True])))


@some
@given(asked=comparisons())
def test_the_agent_door_compares_anything(asked: Asked) -> None:
    centre().agent_asks(asked)


queries = one_of_or(
    ["aloha", RUN, *TIMES, *NUMBERS, "bytes=0-", "2026-11-18T11:06:40Z", "2026-11-18T11:07:00Z"], st.text(max_size=20)
)


@st.composite
def readings(draw: st.DrawFn) -> Asked:
    """Something like a request of a page: each path and parameter of the API, with values that fit or not."""
    template, methods_there = draw(st.sampled_from(sorted(centre().described.items())))
    parameters = methods_there.get("get", {}).get("parameters", [])
    query, headers = {}, []
    fitting = {"site": "aloha", "camera": "north", "run": RUN, "sequence": "1"}
    for parameter in parameters:
        name, value = parameter["name"], draw(queries)
        if parameter["in"] == "path":
            template = template.replace(f"{{{name}}}", draw(one_of_or([fitting.get(name, "x")], st.just(value))))
        elif parameter["in"] == "query" and draw(st.booleans()):
            query[name] = value
        elif parameter["in"] == "header" and draw(st.booleans()):
            headers.append((name.lower().encode(), value.encode("latin-1", errors="replace")))
    path = draw(one_of_or([template], st.text(max_size=20).map(lambda text: f"/{text}")))
    raw = draw(
        st.sampled_from([urlencode(query, errors="replace").encode(), quote(str(query), errors="replace").encode()])
    )
    return Asked(draw(one_of_or(["GET"], methods)), path, raw, tuple(headers))


@some
@given(asked=readings())
def test_the_console_answers_anything(asked: Asked) -> None:
    centre().reader_asks(asked)
