"""The schedule is a value that follows from the seed."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.torture.faults import AT_CENTRE, AT_SITE
from tests.torture.schedule import WARM_S, Stroke, schedule

SITES = ["lawang", "pasar"]
PARTS = {fault.name: fault.parts for fault in AT_SITE} | {fault.name: fault.parts for fault in AT_CENTRE}


def strokes(seed: int = 7, minutes: float = 60) -> tuple[Stroke, ...]:
    return schedule(seed, minutes * 60, SITES, AT_SITE, AT_CENTRE)


def test_the_seed_decides() -> None:
    """The same seed gives the same strokes, another one others; a site more leaves those of the others alone."""
    assert strokes() == strokes()
    assert strokes() != strokes(8)
    more = schedule(7, 3600, [*SITES, "tugu"], AT_SITE, AT_CENTRE)
    assert [stroke for stroke in more if stroke.place != "tugu"] == list(strokes())


def test_every_fault_strikes_within_an_hour() -> None:
    """At each site those of sites, at the centre its own; all of it between the start and the end."""
    hour = strokes()
    for place, faults in ((SITES[0], AT_SITE), (SITES[1], AT_SITE), ("", AT_CENTRE)):
        assert {stroke.fault for stroke in hour if stroke.place == place} == {fault.name for fault in faults}
    assert min(stroke.at_s for stroke in hour) >= WARM_S
    assert max(stroke.ends_s for stroke in hour) <= 3600
    assert list(hour) == sorted(hour, key=lambda stroke: (stroke.at_s, stroke.place))


@pytest.mark.parametrize("seed", range(5))
def test_several_at_once_but_never_two_hands_on_one_part(seed: int) -> None:
    """What ends one fault would end the other, too."""
    at_once = [
        pair
        for pair in combinations(strokes(seed), 2)
        if pair[0].place == pair[1].place and pair[1].at_s < pair[0].ends_s
    ]
    assert len(at_once) > 20
    assert not any(PARTS[one.fault] & PARTS[other.fault] for one, other in at_once)
