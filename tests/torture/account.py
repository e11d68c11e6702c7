"""The account: what the cameras sent, beside what lies at the centre and what the centre says of the rest. Values only.

Nothing may be missing without a cause, and the cause must be true: a fault that was there at that time and place must
allow it. Pictures are matched by their numbers, so nothing here is an estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median
from typing import Final, NamedTuple

from edge_agent.contract import Event, LossCause

LABEL_S: Final = 1.5
"""How far the centre's clock times of footage may be from those of the ledger."""
BEFORE_S: Final = 2.5
"""A fault may cost what was sent so long before it began: what a kill costs, and a label's error."""
AFTER_S: Final = 6.0
"""And so long after it ended, until the recording is back."""
SILENT_S: Final = 8.0
"""When nothing has come for so long, the agent has noticed, and what came before is in a segment."""
_EVICTED: Final = LossCause.EVICTED
CUT_S: Final = 1.0
"""What one kill or power cut may cost."""
TOLD_S: Final = 60.0
"""How soon the centre must know of a fault of which it is told at all."""


class Part(StrEnum):
    """What a fault interrupts, and what therefore has to recover."""

    RECORDING = "recording"
    SHIPPING = "shipping"


RECOVERS_S: Final[Mapping[Part, float]] = {Part.RECORDING: 5.0, Part.SHIPPING: 15.0}
"""How long after the end of a fault at most."""


class Rule(NamedTuple):
    """What the account must know of a fault."""

    excuses: frozenset[LossCause] = frozenset()
    """Why footage may be missing when it strikes; empty: nothing may."""
    stops: frozenset[Part] = frozenset()
    is_cut: bool = False
    """A life ends by it: what is lost before it began is counted against `CUT_S`.

    It may cost what came last, though the camera has been silent since, for less than `SILENT_S`.
    """
    recovers_s: Mapping[Part, float] = RECOVERS_S
    told: Callable[[Event], bool] | None = None
    """Whether an event is the one that must tell the centre of it; none: nobody needs to be told."""


@dataclass(frozen=True, slots=True)
class Blow:
    """A stroke as it happened, in seconds since the epoch."""

    place: str
    fault: str
    begun_s: float
    ended_s: float

    def covers(self, at_s: float) -> bool:
        """Whether what happened at that moment may be its doing."""
        return self.begun_s - BEFORE_S <= at_s <= self.ended_s + AFTER_S

    def meets(self, from_s: float, to_s: float) -> bool:
        """Whether what happened in that stretch may be its doing."""
        return from_s <= self.ended_s + AFTER_S and to_s >= self.begun_s - BEFORE_S


class Shot(NamedTuple):
    """A picture that the camera sent."""

    at_s: float
    digest: str


class Word(NamedTuple):
    """An event, and when the centre learned of it."""

    at_s: float
    event: Event


class Stretch(NamedTuple):
    """What the centre says of a stretch of time; `cause` of a loss, `state` in the words of its API."""

    from_s: float
    to_s: float
    state: str
    cause: LossCause | None = None
    detail: str = ""


@dataclass(frozen=True)
class Evidence:
    """All there is to know of one camera."""

    site: str
    picture_s: float
    sent: Sequence[Shot]
    stored: Mapping[str, int]
    """How often each picture is at the centre."""
    arrived_s: Sequence[float]
    """When items of the site arrived."""
    stretches: Sequence[Stretch]
    blows: Sequence[Blow]
    """Those of the site and those of the centre."""
    until_s: float
    """When the cameras stopped."""
    corrupt: Sequence[tuple[float, str]] = ()
    """Items that are not what they say, with their time and what is wrong."""
    words: Sequence[Word] = ()
    """What the centre was told of the site, or found out itself."""


@dataclass
class Row:
    """What came of one kind of fault. Where several were there at once, it counts for each of them."""

    times: int = 0
    sent: int = 0
    at_centre: int = 0
    lost_s: float = 0.0
    unexplained_s: float = 0.0
    duplicates: int = 0
    corrupt: int = 0
    cut_s: list[float] = field(default_factory=list)
    """What was lost of the end of each life."""
    recovered_s: dict[Part, list[float | None]] = field(default_factory=dict)
    """Seconds after the end of each; None when it never did."""
    late: int = 0

    @property
    def most_cut_s(self) -> float | None:
        """What the dearest cut cost."""
        return max(self.cut_s, default=None)

    def worst_s(self, part: Part) -> float | None:
        """The longest recovery."""
        return max((seconds for seconds in self.recovered_s.get(part, []) if seconds is not None), default=None)

    def median_s(self, part: Part) -> float | None:
        """The usual recovery."""
        known = [seconds for seconds in self.recovered_s.get(part, []) if seconds is not None]
        return median(known) if known else None


class Finding(NamedTuple):
    """Something that must not be, for whoever looks for its cause."""

    site: str
    at_s: float
    what: str
    during: tuple[str, ...]


NO_FAULT: Final = "no fault near"


@dataclass
class Account:
    """The sums of all cameras, a row per fault, and every single thing that must not be."""

    rows: dict[str, Row]
    total: Row = field(default_factory=Row)
    findings: list[Finding] = field(default_factory=list)
    _counted: set[Blow] = field(default_factory=set)

    def judge(self, evidence: Evidence, rules: Mapping[str, Rule]) -> None:
        """The camera is in the sums."""
        judge = _Judge(evidence, rules, self)
        judge.pictures()
        judge.stretches()
        judge.items()
        for blow in evidence.blows:
            if blow not in self._counted:  # one at the centre strikes every site
                self._counted.add(blow)
                self.rows.setdefault(blow.fault, Row()).times += 1
                self.total.times += 1
            judge.recovery(blow)
            judge.cut(blow)
            judge.told(blow)

    def find(self, site: str, at_s: float, what: str, during: Iterable[str] = ()) -> None:
        """Something that must not be, is noted."""
        self.findings.append(Finding(site, at_s, what, tuple(sorted(set(during)))))


class _Judge:
    def __init__(self, evidence: Evidence, rules: Mapping[str, Rule], account: Account) -> None:
        self._evidence, self._rules, self._account = evidence, rules, account
        self._blows = [(blow, self._felt(blow)) for blow in evidence.blows]
        self._bad = [stretch for stretch in evidence.stretches if self._is_bad(stretch)]

    def _felt(self, blow: Blow) -> Blow:
        """The blow since what it may have cost."""
        if not self._rules[blow.fault].is_cut:
            return blow
        recent = (shot.at_s for shot in self._evidence.sent if -SILENT_S < shot.at_s - blow.begun_s < 0)
        return replace(blow, begun_s=max(recent, default=blow.begun_s))

    def _near(self, at_s: float, to_s: float | None = None) -> list[Blow]:
        return [blow for blow, felt in self._blows if felt.meets(at_s, at_s if to_s is None else to_s)]

    def _rows(self, blows: Collection[Blow]) -> list[Row]:
        """The total, and a row for each kind of these faults."""
        names = sorted({blow.fault for blow in blows}) or [NO_FAULT]
        return [self._account.total, *(self._account.rows.setdefault(name, Row()) for name in names)]

    def _excused(self, cause: LossCause | None, at_s: float, to_s: float | None = None) -> bool:
        """Whether a fault there and then may have cost that; one that makes room also costs what waited before it."""
        return any(
            cause in self._rules[blow.fault].excuses
            and (felt.meets(at_s, at_s if to_s is None else to_s) or (cause is _EVICTED and at_s < blow.begun_s))
            for blow, felt in self._blows
        )

    def _is_bad(self, stretch: Stretch) -> bool:
        """Whether the centre owes the truth: it does not know, or what it says cannot be."""
        if stretch.state == "recorded" or stretch.detail == "before the first footage":
            return False
        return not self._excused(stretch.cause, stretch.from_s, stretch.to_s)

    def pictures(self) -> None:
        """Each picture is at the centre once, or missing for a cause."""
        evidence = self._evidence
        runs: list[tuple[Shot, int]] = []
        for shot in evidence.sent:
            blows = self._near(shot.at_s)
            copies = evidence.stored.get(shot.digest, 0)
            for row in self._rows(blows):
                row.sent += 1
                row.at_centre += copies > 0
                row.duplicates += max(0, copies - 1)
            if copies > 1:
                self._account.find(evidence.site, shot.at_s, f"a picture is there {copies} times", _names(blows))
            if copies == 0:
                self._missing(shot, blows, runs)
        for shot, count in runs:
            what = f"{count * evidence.picture_s:.1f} s of pictures are missing without a true cause"
            self._account.find(evidence.site, shot.at_s, what, _names(self._near(shot.at_s)))

    def _missing(self, shot: Shot, blows: list[Blow], runs: list[tuple[Shot, int]]) -> None:
        evidence = self._evidence
        told = [s for s in evidence.stretches if s.from_s - LABEL_S <= shot.at_s <= s.to_s + LABEL_S]
        if any(stretch.state == "lost" and self._excused(stretch.cause, shot.at_s) for stretch in told):
            for row in self._rows(blows):
                row.lost_s += evidence.picture_s
        elif not any(stretch.from_s <= shot.at_s <= stretch.to_s for stretch in self._bad):
            for row in self._rows(blows):
                row.unexplained_s += evidence.picture_s
            if runs and shot.at_s - runs[-1][0].at_s < (runs[-1][1] + 1.5) * evidence.picture_s:
                runs[-1] = runs[-1][0], runs[-1][1] + 1
            else:
                runs.append((shot, 1))

    def stretches(self) -> None:
        """What the centre does not know, or says wrongly, is unexplained as a whole."""
        for stretch in self._bad:
            blows = self._near(stretch.from_s, stretch.to_s)
            seconds = stretch.to_s - stretch.from_s
            for row in self._rows(blows):
                row.unexplained_s += seconds
            said = f"{stretch.state} {stretch.cause or ''} ({stretch.detail})"
            self._account.find(
                self._evidence.site, stretch.from_s, f"the centre says of {seconds:.1f} s: {said}", _names(blows)
            )

    def items(self) -> None:
        """Each item is what it says."""
        for at_s, what in self._evidence.corrupt:
            blows = self._near(at_s)
            for row in self._rows(blows):
                row.corrupt += 1
            self._account.find(self._evidence.site, at_s, what, _names(blows))

    def recovery(self, blow: Blow) -> None:
        """Recording and shipping are back in time; when others ran into the fault, the last of them is asked."""
        evidence, row = self._evidence, self._account.rows[blow.fault]
        for part in sorted(self._rules[blow.fault].stops):
            limit_s = self._limit_s(blow, part)
            signs = evidence.arrived_s
            if part is Part.RECORDING:
                signs = [shot.at_s for shot in evidence.sent if shot.digest in evidence.stored]
            back_s = min((at_s for at_s in signs if at_s >= blow.ended_s), default=None)
            watched_until_s = min([evidence.until_s, *self._next(blow, part)])
            if back_s is None or back_s > watched_until_s:
                if watched_until_s < blow.ended_s + limit_s:
                    continue
                back_s = None
            seconds = None if back_s is None else back_s - blow.ended_s
            row.recovered_s.setdefault(part, []).append(seconds)
            if seconds is None or seconds > limit_s:
                for each in (row, self._account.total):
                    each.late += 1
                took = "not back" if seconds is None else f"back after {seconds:.1f} s, not"
                what = f"{part}: {took} within {limit_s:.0f} s"
                self._account.find(evidence.site, blow.ended_s, what, [blow.fault])

    def _limit_s(self, blow: Blow, part: Part) -> float:
        """How long that part may take, also because of a fault before, which may take longer."""
        ends_s = [
            other.ended_s + self._rules[other.fault].recovers_s[part]
            for other in self._evidence.blows
            if part in self._rules[other.fault].stops and other.begun_s <= blow.ended_s
        ]
        return max(ends_s) - blow.ended_s

    def _next(self, blow: Blow, part: Part) -> list[float]:
        """When something interrupts that part again, or still does."""
        return [
            max(other.begun_s, blow.ended_s)
            for other in self._evidence.blows
            if part in self._rules[other.fault].stops and other is not blow and other.ended_s >= blow.ended_s
        ]

    def cut(self, blow: Blow) -> None:
        """What a cut costs of the life that it ends, where nothing else was at work."""
        evidence, rules = self._evidence, self._rules
        if not rules[blow.fault].is_cut:
            return
        from_s = blow.begun_s - AFTER_S
        for other in evidence.blows:
            if other is not blow and rules[other.fault].excuses and other.meets(from_s, blow.begun_s):
                return
        ended = [shot for shot in evidence.sent if from_s <= shot.at_s < blow.begun_s]
        missing_s = evidence.picture_s * sum(shot.digest not in evidence.stored for shot in ended)
        for row in (self._account.total, self._account.rows[blow.fault]):
            row.cut_s.append(missing_s)
        if missing_s > CUT_S + evidence.picture_s / 2:
            what = f"{missing_s:.1f} s are missing at the end of a life"
            self._account.find(evidence.site, blow.begun_s, what, [blow.fault])

    def told(self, blow: Blow) -> None:
        """The centre knows of it in time, where nothing else was at work."""
        evidence, told = self._evidence, self._rules[blow.fault].told
        if told is None or any(o.meets(blow.begun_s, blow.ended_s) for o in evidence.blows if o is not blow):
            return
        if not any(told(word.event) for word in evidence.words if 0 <= word.at_s - blow.begun_s <= TOLD_S):
            what = f"the centre does not learn of it within {TOLD_S:.0f} s"
            self._account.find(evidence.site, blow.begun_s, what, [blow.fault])


def _names(blows: Iterable[Blow]) -> list[str]:
    return [blow.fault for blow in blows]


def twice(identities: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """The identities that are there more than once."""
    return [identity for identity, count in Counter(identities).items() if count > 1]
