"""What the sites are told: shares of a trunk, wishes that stand until they come true, and the way to the agent."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.core.pacing import Demand, share
from central.core.wishing import Grant, WishKind, WishRow, is_news, wish
from central.enrolment import enrol
from central.settings import PaceSettings
from central.store import StateRow, Store
from central.wishes import WANTED_MS, Wishes
from edge_agent.bus import Bus, Door, connect
from edge_agent.clock import SystemClock
from edge_agent.contract import (
    MAX_MESSAGE_BYTES,
    MOST_LESSONS,
    Battery,
    CameraState,
    PaceLimit,
    Presence,
    PresenceState,
    SpoolState,
    Wish,
    instant,
)
from edge_agent.errors import LinkError
from edge_agent.settings import BrokerSettings
from tests.central.test_serve import Centre
from tests.central.world import T, World
from tests.rig.parts import require_program
from tests.rig.processes import until

HOUR_MS = 3_600_000


def spool(
    backlog_bytes: int, taken: float = 0, limit: PaceLimit = PaceLimit.NONE, pace: float | None = None
) -> SpoolState:
    return SpoolState(
        backlog_items=1,
        backlog_s=4,
        backlog_bytes=backlog_bytes,
        used_bytes=0,
        free_bytes=0,
        taken_bytes_per_s=taken,
        pace_bytes_per_s=pace,
        pace_limit=limit,
        at=instant(T),
    )


# --- shares ---


def drains(live: float = 0, most: float = float("inf")) -> Demand:
    return Demand(True, live, True, most)


def idle(live: float = 0) -> Demand:
    return Demand(True, live)


def test_backlogs_share_what_live_leaves_of_the_trunk_alike() -> None:
    shares = share(1_000_000, 0.1, {"a": drains(100_000), "b": drains(200_000), "c": idle(300_000)})
    assert shares["a"] == shares["b"] == 150_000


def test_what_one_cannot_take_is_for_the_others() -> None:
    shares = share(1_000_000, 0, {"a": drains(most=100_000), "b": drains(), "c": drains(most=0)})
    assert shares["b"] == 900_000
    assert min(shares["a"], shares["c"]) >= 100_000, "who has a limit of its own is not held to it twice"


def test_who_is_away_would_share_with_all_who_are_away() -> None:
    """Twelve that come back at once go by this until the centre has heard of their backlogs."""
    demands = {f"site{number}": Demand(False, 10_000) for number in range(12)}
    shares = share(1_200_000, 0, demands)
    assert set(shares.values()) == {(1_200_000 - 120_000) / 12}
    with_one = share(1_200_000, 0, demands | {"site0": drains()})
    assert with_one["site0"] == 1_200_000, "nobody waits for who is away"


def test_nobody_starves_whatever_live_takes() -> None:
    shares = share(100_000, 0.1, {"a": drains(200_000), "b": drains(), "c": Demand(False)})
    assert min(shares.values()) > 0


@given(
    st.floats(1e5, 1e9),
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3),
        st.builds(drains, st.floats(0, 1e3), st.one_of(st.just(float("inf")), st.floats(2e4, 1e8))),
        min_size=1,
    ),
)
def test_shares_are_max_min_fair(trunk: float, demands: dict[str, Demand]) -> None:
    """Nobody gets more than another who could use it, and nothing is left while somebody could."""
    shares = share(trunk, 0, demands)
    taken = {site: min(shares[site], demand.most_bytes_per_s) for site, demand in demands.items()}
    left = trunk - sum(demand.live_bytes_per_s for demand in demands.values())
    if left / len(demands) < 20_000:
        return
    assert sum(taken.values()) <= left * 1.000001
    hungry = [taken[site] for site, demand in demands.items() if taken[site] < demand.most_bytes_per_s]
    if hungry:
        assert sum(taken.values()) == pytest.approx(left)
        assert min(hungry) == pytest.approx(max(taken.values()))


def test_a_demand_is_what_the_site_says() -> None:
    assert Demand.of(spool(10**9, 1e5), is_there=True) == drains(1e5)
    assert Demand.of(spool(29 * 10**5, 1e5), is_there=True) == idle(1e5), "that is on its way, and no backlog"
    assert Demand.of(spool(10**9, 0, PaceLimit.CAP, 7e5), is_there=True) == drains(most=7e5)
    assert Demand.of(spool(10**9, 0, PaceLimit.WINDOW, 0), is_there=True) == drains(most=0)
    assert Demand.of(spool(10**9, 0, PaceLimit.GRANT, 7e5), is_there=True) == drains()


# --- what is told ---


def row(kind: WishKind, at: int = 0, made_ms: int = T, expires_ms: int | None = None) -> WishRow:
    return WishRow("aloha", kind, "north", T + at, T + at + 1000, made_ms, expires_ms)


def test_a_wish_is_whole_and_fits_a_message() -> None:
    many = [row(kind, at, T + at) for kind in (WishKind.WANTED, WishKind.LOCKED) for at in range(300)]
    lessons = ("x" * 1500,) * MOST_LESSONS
    told = wish([*many, WishRow("aloha", WishKind.COMPARED, "", T, T, T, None)], Grant(5, T + 9), T, lessons)
    assert (len(told.wanted), len(told.locked), told.compared_since) == (200, 200, instant(T))
    assert told.wanted[0].from_at == instant(T + 299), "of too many, those of last"
    assert (told.pace_bytes_per_s, told.pace_until) == (5, instant(T + 9))
    assert len(told.to_json()) < MAX_MESSAGE_BYTES


def test_what_hardly_differs_is_no_news_until_its_grant_runs_out() -> None:
    def told(pace: float | None, rows: tuple[WishRow, ...] = (), until_ms: int = 60_000) -> Wish:
        return wish(rows, None if pace is None else Grant(pace, T + until_ms), T)

    assert is_news(None, told(None), T)
    assert not is_news(told(None), told(None), T)
    assert is_news(told(None), told(100), T)
    assert is_news(told(100), told(None), T)
    assert not is_news(told(100), told(101), T + 20_000)
    assert is_news(told(100), told(97), T)
    assert is_news(told(100), told(100), T + 31_000)
    assert is_news(told(100), told(100, (row(WishKind.WANTED),)), T)
    assert is_news(told(None), wish((), None, T, ("a lesson",)), T)


class Telling:
    """The writer, with a store, and what it told; time is the test's."""

    def __init__(self, world: World, trunk: int = 0) -> None:
        self.world, self.now_ms = world, T
        self.told: list[tuple[str, Wish]] = []
        self.wishes = Wishes(
            world.store,
            PaceSettings(trunk_bytes_per_s=trunk, reserve=0),
            lambda: ["aloha"],
            lambda site, wish: self.told.append((site, wish)),
            now_ms=lambda: self.now_ms,
        )

    def look(self, after_ms: int = 0) -> list[Wish]:
        """What is told after so long."""
        self.now_ms += after_ms
        self.told.clear()
        self.wishes.look()
        assert {site for site, _ in self.told} <= {"aloha"}
        return [wish for _, wish in self.told]


def test_every_site_is_told_at_the_start_and_then_only_news(world: World) -> None:
    """What an earlier centre retained is out of date."""
    telling = Telling(world)
    assert [told.wanted for told in telling.look()] == [()]
    assert telling.look(2000) == []
    world.store.add_wish(row(WishKind.LOCKED))
    assert [len(told.locked) for told in telling.look(2000)] == [1]
    assert world.store.drop_wishes([row(WishKind.LOCKED, made_ms=5)]) == 1
    assert world.store.drop_wishes([row(WishKind.LOCKED)]) == 0
    assert [told.locked for told in telling.look(2000)] == [()]


def test_wanted_footage_is_wanted_until_it_has_come(world: World) -> None:
    world.state("presence", Presence(state=PresenceState.ONLINE, run="000001test", at=instant(T)))
    world.state("spool", spool(10**6))
    world.segment(0)
    world.segment(8)
    telling = Telling(world)
    world.store.add_wish(WishRow("aloha", WishKind.WANTED, "north", T, T + 12_000, T, T + WANTED_MS))
    assert [len(told.wanted) for told in telling.look(60_000)] == [1]
    assert telling.look(60_000) == []
    world.segment(4)
    assert [told.wanted for told in telling.look(60_000)] == [()]
    assert world.store.wishes() == []


def test_a_site_is_told_what_its_battery_taught_for_a_card_that_does_not_know_it(world: World) -> None:
    telling = Telling(world)
    assert [told.lessons for told in telling.look()] == [()]
    world.state("battery", Battery(known=True, lessons=("one", "two"), at=instant(T)))
    assert [told.lessons for told in telling.look(2000)] == [("one", "two")]
    assert telling.look(2000) == []


def test_a_wish_expires(world: World) -> None:
    telling = Telling(world)
    world.store.add_wish(row(WishKind.WANTED, expires_ms=T + HOUR_MS))
    assert [len(told.wanted) for told in telling.look()] == [1]
    assert [told.wanted for told in telling.look(HOUR_MS)] == [()]


def test_the_same_wish_twice_is_one_and_of_comparisons_the_last_one_counts(world: World) -> None:
    for made_ms in (T, T + 5):
        world.store.add_wish(row(WishKind.WANTED, made_ms=made_ms, expires_ms=made_ms + 1))
        world.store.add_wish(WishRow("aloha", WishKind.COMPARED, "", made_ms, made_ms, made_ms, None))
    assert [(row.kind, row.made_ms) for row in world.store.wishes()] == [
        (WishKind.WANTED, T + 5),
        (WishKind.COMPARED, T + 5),
    ]


def test_the_table_is_the_same_in_either_database(store: Store) -> None:
    store.add_wish(row(WishKind.WANTED, expires_ms=T))
    store.add_wish(row(WishKind.WANTED, expires_ms=T + 1))
    assert store.wishes() == [row(WishKind.WANTED, expires_ms=T + 1)]
    assert store.drop_wishes(store.wishes()) == 1
    store.put_states([StateRow("aloha", topic, "", T, "{}") for topic in ("spool", "host")])
    assert [row.topic for row in store.states(topics=["spool"])] == ["spool"]


def test_a_grant_is_renewed_before_it_ends_and_follows_the_backlog(world: World) -> None:
    telling = Telling(world, trunk=1_000_000)
    (away,) = telling.look()
    assert away.pace_bytes_per_s == 1_000_000
    world.state("presence", Presence(state=PresenceState.ONLINE, run="000001test", at=instant(T)))
    world.state("spool", spool(10**9, 400_000))
    (drains,) = telling.look(2000)
    assert drains.pace_bytes_per_s == 600_000
    assert drains.pace_until == instant(telling.now_ms + 60_000)
    assert telling.look(28_000) == []
    (renewed,) = telling.look(4000)
    assert (renewed.pace_bytes_per_s, renewed.pace_until) == (600_000, instant(telling.now_ms + 60_000))


# --- the way to the agent ---


def lets_in(door: Door) -> bool:
    """Whether the broker has heard that the site is enrolled."""
    try:
        session, _ = connect(door, "early-bird")
    except LinkError:
        return False
    session.close()
    return True


def test_what_a_person_asks_for_reaches_the_agent(tmp_path: Path) -> None:
    """Through the command line, the database, a real centre and a real mosquitto."""
    require_program("mosquitto")
    centre = Centre(tmp_path)
    with centre.program:
        bound = centre.start()
        token = centre.enrol("aloha")
        heard: list[Wish] = []
        settings = BrokerSettings(host=bound["broker_host"], port=bound["broker_port"])
        door = Door(settings, "aloha", token)
        until(lambda: lets_in(door), 20, "the broker knows the site")
        bus = Bus(door, "000001aaaa", SystemClock(), heard.append, lambda _detail: None)
        stop = threading.Event()

        def work() -> None:
            wait_s = 0.0
            while not stop.wait(wait_s):
                wait_s = bus.run_once()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            north = CameraState(camera="north", recording=True, since=instant(T), at=instant(T))
            bus.state("camera/north", north.to_json())
            until(lambda: heard, 20, "a first wish, of nothing")
            interval = ("aloha", "north", "2026-11-24T08:00Z", "2026-11-24T08:10Z")
            until(lambda: centre.run("fetch", *interval).returncode == 0, 20, "the centre knows the camera")
            assert centre.run("lock", *interval).returncode == 0
            assert centre.run("compare", "aloha").returncode == 0
            until(lambda: heard[-1].wanted and heard[-1].locked and heard[-1].compared_since, 20, "the wishes")
            assert heard[-1].wanted[0].camera == "north"
            assert heard[-1].wanted[0].from_at == instant(1_795_507_200_000)
            listed = json.loads(centre.run("wishes", "--json").stdout)["wishes"]
            assert sorted(wish["kind"] for wish in listed) == ["compared", "locked", "wanted"]
            assert "locked" in centre.run("wishes").stdout
            assert centre.run("unlock", *interval).returncode == 0
            until(lambda: not heard[-1].locked, 20, "the lock is gone")
            done = centre.run("unlock", *interval)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        finally:
            stop.set()
            thread.join()
            bus.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fetch", "nowhere", "north", "2026-11-24T08:00", "2026-11-24T09:00"], "no site nowhere"),
        (["lock", "aloha", "north", "2026-11-24T08:00", "2026-11-24T09:00"], "no camera north"),
        (["fetch", "aloha", "north", "2026-11-24T09:00", "2026-11-24T08:00"], "swap them"),
        (["compare", "nowhere"], "no site nowhere"),
        (["compare"], "--all"),
        (["compare", "aloha", "--all"], "--all"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "centre").mkdir()
    store = Store.open(f"sqlite:///{tmp_path}/centre/central.sqlite")
    enrol(store, "aloha", "", None, None, renew=False)
    store.close()
    done = Centre(tmp_path).run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
