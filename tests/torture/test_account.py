"""The account finds what is missing, twice, late or explained by what never was; values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edge_agent.contract import Event, EventData, EventType, LossCause, instant
from tests.torture.account import NO_FAULT, Account, Blow, Evidence, Part, Rule, Shot, Stretch, Word, twice

RULES = {
    "kill": Rule(frozenset({LossCause.AGENT}), frozenset(Part), is_cut=True),
    "cut": Rule(stops=frozenset({Part.SHIPPING})),
    "twin": Rule(told=lambda event: event.type is EventType.SITE_DOUBLED),
    "full": Rule(frozenset({LossCause.EVICTED}), frozenset({Part.RECORDING})),
}
SENT = [Shot(number / 10, str(number)) for number in range(600)]
"""A minute of pictures."""
KILL = Blow("lawang", "kill", 20, 22)
CUT = Blow("lawang", "cut", 20, 22)


def evidence(
    missing: range = range(0), said: Sequence[Stretch] = (), blows: Sequence[Blow] = (), *, until_s: float = 60
) -> Evidence:
    return Evidence(
        site="lawang",
        picture_s=0.1,
        sent=SENT,
        stored={shot.digest: 1 for number, shot in enumerate(SENT) if number not in missing},
        arrived_s=[second + 0.5 for second in range(int(until_s))],
        stretches=said or [Stretch(0, 60, "recorded")],
        blows=blows,
        until_s=60,
    )


def hole(from_s: float, to_s: float, cause: LossCause) -> list[Stretch]:
    return [Stretch(0, from_s, "recorded"), Stretch(from_s, to_s, "lost", cause), Stretch(to_s, 60, "recorded")]


def judged(seen: Evidence) -> Account:
    account = Account({})
    account.judge(seen, RULES)
    return account


def test_a_quiet_minute() -> None:
    """Everything is there once, and no fault was near."""
    account = judged(evidence())
    assert account.findings == []
    assert account.rows[NO_FAULT] == replace(account.total)
    assert (account.total.sent, account.total.at_centre, account.total.unexplained_s) == (600, 600, 0)


def test_a_kill_costs_what_the_centre_explains() -> None:
    """Half a second before it and the time until the agent is back are lost to the agent, and all recovered."""
    account = judged(evidence(range(195, 240), hole(19.4, 24, LossCause.AGENT), [KILL]))
    row = account.rows["kill"]
    assert account.findings == []
    assert (row.times, row.duplicates, row.late) == (1, 0, 0)
    assert row.lost_s == pytest.approx(4.5)
    assert row.cut_s == [pytest.approx(0.5)]
    assert row.worst_s(Part.RECORDING) == pytest.approx(2)
    assert row.worst_s(Part.SHIPPING) == pytest.approx(0.5)


def test_missing_where_the_centre_says_recorded() -> None:
    """The pictures are unexplained, in one finding that says what was going on."""
    account = judged(evidence(range(210, 220), blows=[CUT]))
    assert account.total.unexplained_s == pytest.approx(1)
    assert account.rows["cut"].unexplained_s == pytest.approx(1)
    (finding,) = account.findings
    assert finding.at_s == 21
    assert finding.during == ("cut",)
    assert "1.0 s of pictures" in finding.what


def test_a_cause_that_was_not_there_explains_nothing() -> None:
    """Lost to the agent, says the centre, when nobody touched the agent; and pictures are not counted twice."""
    account = judged(evidence(range(200, 240), hole(20, 24, LossCause.AGENT), [CUT]))
    assert account.total.unexplained_s == pytest.approx(4)
    assert account.total.lost_s == 0
    assert [finding.at_s for finding in account.findings] == [20]


def test_room_is_made_of_what_waited() -> None:
    """A full disk may cost what was recorded long before it, and nothing that was recorded long after."""
    for disk, unexplained_s in ((Blow("lawang", "full", 40, 45), 0), (Blow("lawang", "full", 5, 8), 4)):
        account = judged(evidence(range(200, 240), hole(20, 24, LossCause.EVICTED), [CUT, disk]))
        assert account.total.unexplained_s == pytest.approx(unexplained_s)


def test_what_the_centre_does_not_know_is_unexplained() -> None:
    """A hole without a cause stays one, even if a fault may lose footage then."""
    stretches = [Stretch(0, 20, "recorded"), Stretch(20, 24, "unknown", detail="a hole without a known cause")]
    account = judged(evidence(range(200, 240), [*stretches, Stretch(24, 60, "recorded")], [KILL]))
    assert account.total.unexplained_s == pytest.approx(4)


def test_a_cut_may_cost_a_second() -> None:
    """More is a finding, though it is explained."""
    account = judged(evidence(range(180, 240), hole(18, 24, LossCause.AGENT), [KILL]))
    assert account.rows["kill"].cut_s == [pytest.approx(2)]
    assert [finding.what for finding in account.findings if "life" in finding.what] == [
        "2.0 s are missing at the end of a life"
    ]


@pytest.mark.parametrize(("kill_s", "is_excused"), [(26, True), (30, False)])
def test_a_cut_may_cost_what_came_before_the_camera_fell_silent(kill_s: float, is_excused: bool) -> None:
    """Half a second was not written yet; but not when the agent had the time to notice."""
    told = hole(19.5, kill_s + 4, LossCause.AGENT)
    silent = evidence(range(195, 200), told, [Blow("lawang", "kill", kill_s, kill_s + 2)])
    account = judged(replace(silent, sent=[shot for shot in SENT if not 20 <= shot.at_s < kill_s + 3]))
    assert (account.total.unexplained_s == 0) is is_excused


def test_too_late_is_late() -> None:
    """Recording is back after eight seconds instead of five; shipping never."""
    account = judged(evidence(range(200, 300), hole(20, 30, LossCause.AGENT), [KILL], until_s=21))
    assert account.rows["kill"].recovered_s == {Part.RECORDING: [pytest.approx(8)], Part.SHIPPING: [None]}
    assert account.total.late == 2


def test_recovery_counts_from_the_last_fault_of_several() -> None:
    """A kill within the time that the cut has to recover: shipping is back after that."""
    account = judged(evidence(range(195, 240), hole(19.4, 24, LossCause.AGENT), [Blow("lawang", "cut", 5, 19), KILL]))
    assert account.rows["cut"].recovered_s == {Part.SHIPPING: [pytest.approx(0.5)]}
    assert account.rows["kill"].recovered_s[Part.SHIPPING] == [pytest.approx(0.5)]
    assert account.findings == []


@pytest.mark.parametrize(
    ("at_s", "type_", "is_told"),
    [
        (45, EventType.SITE_DOUBLED, True),
        (45, EventType.LINK_CHANGED, False),
        (29, EventType.SITE_DOUBLED, False),
        (91, EventType.SITE_DOUBLED, False),
    ],
)
def test_what_must_be_told_is_told_in_time(at_s: float, type_: EventType, is_told: bool) -> None:
    """By the right word, not by one from before, and within a minute; unless something else was at work."""
    event = Event(id="1", source="centre", type=type_, time=instant(0), data=EventData(run="000001aaaa"))
    twin = Blow("lawang", "twin", 30, 40)
    seen = replace(evidence(blows=[twin]), words=[Word(at_s, event)])
    assert (judged(seen).findings == []) is is_told
    assert judged(replace(seen, blows=[twin, Blow("", "cut", 35, 36)])).findings == []


def test_twice_and_corrupt() -> None:
    """A picture in two items, an identity in two objects, an item that is not what it says."""
    seen = evidence()
    account = judged(replace(seen, stored={**seen.stored, "77": 2}, corrupt=[(8.0, "torn")]))
    assert (account.total.duplicates, account.total.corrupt) == (1, 1)
    assert [finding.what for finding in account.findings] == ["a picture is there 2 times", "torn"]
    assert twice([("utara", "run", 1), ("utara", "run", 2), ("utara", "run", 1)]) == [("utara", "run", 1)]


def test_a_fault_at_the_centre_counts_once() -> None:
    """However many sites it strikes."""
    account = Account({})
    for site in ("lawang", "pasar"):
        account.judge(replace(evidence(blows=[Blow("", "cut", 20, 22)]), site=site), RULES)
    assert account.rows["cut"].times == 1
    assert len(account.rows["cut"].recovered_s[Part.SHIPPING]) == 2
