"""Power cuts, a few of each kind: every promise is kept, and who is careless is found out."""

from __future__ import annotations

from pathlib import Path

from tests.cuts import campaign, report
from tests.cuts.campaign import CARELESS, Plan
from tests.cuts.outcome import Outcome, total

PLANS = [
    Plan("agent", 20261125, 8),
    Plan("centre", 20261125, 6),
    Plan(f"{CARELESS}agent", 20261125, 2),
    Plan(f"{CARELESS}centre", 20261125, 1),
]


def test_the_careful_lose_nothing_and_the_careless_do(tmp_path: Path) -> None:
    """After each cut what was committed or receipted is there and whole; without fsync in the same rig it is not."""
    campaign.require_parts()
    found = {outcome.victim: outcome for outcome in campaign.run(PLANS, len(PLANS), tmp_path)}
    for victim in ("agent", "centre"):
        outcome = found[victim]
        assert outcome.findings == ()
        assert (outcome.lost_promised, outcome.lost_receipted, outcome.damaged) == (0, 0, 0)
        assert (outcome.left_over, outcome.broken) == (0, 0)
        assert outcome.worst_missing_s <= 1
        assert outcome.promised
        assert outcome.receipted
        assert outcome.dropped, "no cut took anything from the cache of the disk: it proves nothing"
        assert found[f"{CARELESS}{victim}"].broken, "the rig does not notice who never syncs"
    assert (found["agent"].cuts, found["centre"].cuts) == (8, 6)


def test_a_campaign_cuts_as_often_as_it_is_told() -> None:
    """All under the agent, half as many under the centre, each batch with dice of its own."""
    plans = campaign.plans(seed=3, cuts=60)
    assert sum(plan.cuts for plan in plans if plan.victim == "agent") == 60
    assert sum(plan.cuts for plan in plans if plan.victim == "centre") == 30
    assert len({(plan.victim, plan.seed) for plan in plans}) == len(plans)


def test_outcomes_add_up_and_come_back_from_the_report(tmp_path: Path) -> None:
    """A run that was broken off goes on from its report, and the page says what the report says."""
    first = Outcome(victim="agent", seed=30000, cuts=25, dropped=20, promised=80, missing_s=(0.2, 0.8))
    second = Outcome(victim="agent", seed=30001, cuts=10, dropped=8, promised=40, missing_s=(1.2,), broken=1)
    assert total([first, second]).missing_s == (0.2, 0.8, 1.2)
    assert (first.holds, second.holds) == (True, False)
    path, page = tmp_path / "report.json", tmp_path / "page.md"
    report.write([first, second], 3, "make cuts", path)
    assert report.read(3, path) == [first, second]
    assert report.read(4, path) == []
    report.publish(path, page)
    assert "| power cuts | 35 |" in page.read_text()
    assert "| … **most** | 1.20 s |" in page.read_text()
