"""The wire contract against its golden samples: what either end wrote once, both ends read for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent import contract

SAMPLES = Path(__file__).parent / "samples" / "contract"
MODELS: dict[str, type[contract.Message]] = {
    **{topic.group: topic.model for topic in contract.TOPICS if topic is not contract.EVENT},
    **{f"event-{kind.removeprefix('simpang.').replace('.', '-')}": contract.Event for kind in contract.EventType},
    "differences": contract.Differences,
    "facts": contract.SegmentFacts,
    "hello": contract.Hello,
    "inventory": contract.Inventory,
    "problem": contract.Problem,
    "receipt": contract.Receipt,
    "telemetry": contract.Telemetry,
    contract.WISH.group: contract.WISH.model,
}
NAMES = (SAMPLES / "item-names.txt").read_text().splitlines()
NOT_NAMES = (SAMPLES / "not-item-names.txt").read_text().splitlines()


def sample(name: str) -> dict[str, Any]:
    """The body of a golden sample."""
    body = json.loads((SAMPLES / f"{name}.json").read_text())
    assert isinstance(body, dict)
    return body


def test_every_message_has_a_sample_and_every_sample_a_message() -> None:
    """Nothing crosses the road without a sample."""
    assert {path.stem for path in SAMPLES.glob("*.json")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_names_every_field_and_is_written_back_as_it_was(name: str) -> None:
    """A renamed, dropped or reshaped field breaks its sample."""
    body = sample(name)
    assert set(body) == set(MODELS[name].model_fields)
    assert json.loads(MODELS[name].model_validate(body).to_json()) == body


@pytest.mark.parametrize("name", MODELS)
def test_a_reader_ignores_keys_that_it_does_not_know(name: str) -> None:
    """A newer writer may add."""
    model = MODELS[name]
    assert model.model_validate({**sample(name), "of-a-later-version": 1}) == model.model_validate(sample(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_message_without_what_it_must_say_is_refused(name: str) -> None:
    """An empty body is never a message."""
    with pytest.raises(ValidationError):
        MODELS[name].model_validate({})


def test_each_kind_of_event_has_its_sample() -> None:
    """The sample's type is the one that its name says."""
    for kind in contract.EventType:
        assert sample(f"event-{kind.removeprefix('simpang.').replace('.', '-')}")["type"] == kind


def test_a_telemetry_batch_holds_messages_as_they_were_published() -> None:
    """Each sample of a batch is read by the model of its topic."""
    for entry in contract.Telemetry.model_validate(sample("telemetry")).samples:
        address = contract.parse_topic("p", f"p/site-1/{entry.group}")
        assert json.loads(address.topic.model.model_validate(entry.body).to_json()) == entry.body


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_utc_does_not_have_is_refused(text: str) -> None:
    """Else it comes out when the message is written again, where nobody expects it."""
    with pytest.raises(ValueError, match="out of range"):
        contract.Hello.model_validate({"site": "aloha", "at": text})


def test_moments_are_utc_with_milliseconds() -> None:
    """Whatever zone a writer thinks in."""
    hello = contract.Hello.model_validate({"site": "a", "at": "2026-11-24T13:00:25.123456+07:00"})
    assert json.loads(hello.to_json())["at"] == "2026-11-24T06:00:25.123Z"
    with pytest.raises(ValidationError, match="timezone"):
        contract.Hello.model_validate({"site": "a", "at": "2026-11-24T13:00:25"})


@pytest.mark.parametrize("text", NAMES)
def test_an_item_name_is_read_and_spelled_the_same(text: str) -> None:
    """The name is the identity and the labels."""
    assert str(contract.ItemName.parse(text)) == text


@pytest.mark.parametrize("text", NOT_NAMES)
def test_what_is_no_item_name_is_refused(text: str) -> None:
    """There is one spelling, and none that leaves the folder."""
    with pytest.raises(ValueError, match="not an item name"):
        contract.ItemName.parse(text)


def test_item_names_order_by_run_and_sequence_whatever_the_clock_said() -> None:
    """A clock that was years ahead spoils a label, not the order."""
    hash_ = "0" * 64
    names = [
        contract.ItemName(
            run, sequence, contract.ItemKind.EVENT, "site", start, 0, contract.ClockQuality.UNSYNCED, hash_
        )
        for run, sequence, start in [("000001aaaa", 0, 9_000), ("000001aaaa", 1, 5), ("000002aaaa", 0, 3)]
    ]
    assert sorted(names) == names
    assert sorted(map(str, names)) == [*map(str, names)]


def test_the_name_of_a_life_carries_its_count() -> None:
    """Names of lives sort in the order of lives."""
    assert contract.run_id(42, "k3x9") == "000042k3x9"
    assert contract.run_counter("000042k3x9") == 42
    with pytest.raises(ValueError, match="not a run"):
        contract.run_id(1_000_000, "k3x9")


def test_a_receipt_covers_that_very_item_only() -> None:
    """Same site, run, sequence and hash."""
    name = contract.ItemName.parse(NAMES[0])
    receipt = contract.Receipt.model_validate(sample("receipt"))
    assert receipt.covers("simpang-lima", name)
    assert not receipt.covers("simpang-enam", name)
    assert not receipt.model_copy(update={"sha256": "0" * 64}).covers("simpang-lima", name)


def test_the_digest_header_is_that_of_the_standard() -> None:
    """RFC 9530 prints this digest of this body in its appendix."""
    sha256 = hashlib.sha256(b'{"hello": "world"}\n').hexdigest()
    assert contract.content_digest(sha256) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_the_digest_of_a_range_is_what_it_was() -> None:
    """Both ends must compute the same for ever."""
    assert contract.range_digest([]) == hashlib.sha256(b"").hexdigest()[:32]
    assert contract.range_digest([(7, "ab" * 32), (8, "cd" * 32)]) == "0f6df0093ac5245fe75e6733d3805ada"


def stretch(run: str, from_sequence: int, to_sequence: int, count: int = 1) -> dict[str, Any]:
    """A range of an inventory."""
    return {
        "run": run,
        "from_sequence": from_sequence,
        "to_sequence": to_sequence,
        "count": count,
        "digest": "0" * 32,
    }


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [stretch("000001aaaa", 4, 8), stretch("000001aaaa", 7, 9)],
        [stretch("000002aaaa", 0, 1), stretch("000001aaaa", 4, 8)],
        [stretch("000001aaaa", 8, 8)],
        [stretch("000001aaaa", 4, 8, 5)],
        [stretch("000001aaaa", 0, 10**8 + 1)],
        [stretch("000001aaaa", 0, 60_000, 60_000), stretch("000002aaaa", 0, 60_000, 60_000)],
        [stretch("000001aaaa", number, number + 1) for number in range(contract.MAX_RANGES + 1)],
        [stretch("000001aaaa", 4, 8) | {"digest": "0" * 31}],
    ],
)
def test_an_inventory_that_asks_for_too_much_or_twice_is_refused(ranges: list[dict[str, Any]]) -> None:
    """So that an answer costs the centre a bounded amount of work."""
    with pytest.raises(ValidationError):
        contract.Inventory.model_validate({"ranges": ranges})


def test_the_largest_inventory_fits_into_a_message() -> None:
    """The door reads no more than that."""
    ranges = [stretch("000001aaaa", 10**8 - 2, 10**8) | {"run": f"{n:06d}aaaa"} for n in range(contract.MAX_RANGES)]
    assert len(contract.Inventory.model_validate({"ranges": ranges}).to_json()) < contract.MAX_MESSAGE_BYTES


def box(kind: bytes, body: bytes = b"") -> bytes:
    """A box of an ISO base media file."""
    return (8 + len(body)).to_bytes(4) + kind + body


def segment_file() -> bytes:
    """The smallest file that ends with the facts of the golden sample."""
    return box(b"ftyp") + box(b"moov") + box(b"moof") + bytes.fromhex((SAMPLES / "facts-box.hex").read_text())


def test_the_facts_of_a_segment_are_read_from_its_last_box() -> None:
    """And written as the very bytes that were frozen."""
    facts = contract.SegmentFacts.model_validate(sample("facts"))
    assert contract.read_facts(segment_file()) == facts
    assert contract.facts_box(facts) == segment_file()[24:]


def test_a_large_box_states_its_size_in_64_bits() -> None:
    """ISO/IEC 14496-12, 4.2: size 1 says that the size follows the type."""
    data = (1).to_bytes(4) + b"mdat" + (20).to_bytes(8) + b"1234" + box(b"free")
    assert [(b.type, b.offset, b.size) for b in contract.whole_boxes(data)] == [("mdat", 0, 20), ("free", 20, 8)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "torn"),
        (segment_file()[:-1], "torn"),
        (segment_file() + b"x", "torn"),
        (segment_file()[24:], "not a fragmented MP4"),
        (segment_file()[:24], "does not end with the facts"),
        (segment_file()[:24] + box(b"free") + segment_file()[24:], "do not fit"),
    ],
)
def test_what_is_no_whole_segment_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    """Torn, foreign or inconsistent."""
    with pytest.raises(ValueError, match=reason):
        contract.read_facts(data)


@given(st.binary(max_size=200))
def test_boxes_of_any_bytes_lie_inside_them_one_after_the_other(data: bytes) -> None:
    """Garbage from a damaged disk is walked without harm."""
    end = 0
    for found in contract.whole_boxes(data):
        assert found.offset == end
        assert found.size >= 8
        end = found.end
    assert end <= len(data)


@pytest.mark.parametrize("topic", contract.TOPICS, ids=lambda topic: topic.group)
def test_a_topic_says_whose_fact_it_carries(topic: contract.Topic) -> None:
    """Path and parse are each other's inverse."""
    camera = "north" if topic.per_camera else None
    assert contract.parse_topic("city/v1", topic.path("city/v1", "lima", camera)) == contract.Address(
        "lima", topic, camera
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "simpang/v1/lima",
        "simpang/v1/lima/power/",
        "simpang/v1/lima/power/north",
        "simpang/v1/lima/camera",
        "simpang/v1/lima/camera/",
        "simpang/v1/lima/camera/a/b",
        "simpang/v1/lima/unheard-of",
        "simpang/v1/city/presence",
        "simpang/v1/Lima/power",
        "simpang/v1/+/power",
        "simpang/v2/lima/power",
        "lima/power",
    ],
)
def test_what_is_no_topic_of_a_site_is_refused(text: str) -> None:
    """Another prefix, a reserved or misspelt site, a part too few or too many."""
    with pytest.raises(ValueError, match="not a topic of a site"):
        contract.parse_topic("simpang/v1", text)
