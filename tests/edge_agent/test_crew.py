"""Threads that work, stop, hang and fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import systemd
from edge_agent.clock import SystemClock
from edge_agent.crew import Crew
from tests.fakes import FakeClock
from tests.rig.processes import until


@pytest.fixture
def crew() -> Iterator[Crew]:
    hook = threading.excepthook
    crew = Crew(SystemClock())
    yield crew
    crew.end()
    assert not crew.join(5)
    threading.excepthook = hook


class Turns:
    """A job that counts."""

    def __init__(self, wait_s: float = 0.01) -> None:
        self.turns, self._wait_s = 0, wait_s

    def run_once(self) -> float:
        self.turns += 1
        return self._wait_s


class Hangs:
    """A job that does not come back before it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def run_once(self) -> float:
        self.let_go.wait(30)
        return 0


class Fails:
    """A job with a bug."""

    def run_once(self) -> float:
        raise ZeroDivisionError("a bug")


def test_a_job_with_long_to_wait_can_be_hurried(crew: Crew) -> None:
    patient = Turns(wait_s=3600)
    crew.hire("patient", patient)
    until(lambda: patient.turns == 1, 5, "its first turn")
    crew.hurry("patient")
    until(lambda: patient.turns == 2, 5, "a turn before its time")


def test_a_job_turns_until_it_is_told_to_stop_even_from_a_long_wait(crew: Crew) -> None:
    quick, patient = Turns(), Turns(wait_s=3600)
    crew.hire("quick", quick)
    crew.hire("patient", patient)
    until(lambda: quick.turns > 3 and patient.turns == 1, 5, "both work")
    crew.end()
    assert crew.join(5) == []


def test_who_hangs_is_not_waited_for_longer_than_patience_lasts(crew: Crew) -> None:
    job = Hangs()
    crew.hire("hangs", job)
    crew.end()
    assert crew.join(0.1) == ["hangs"]
    job.let_go.set()


def test_a_bug_in_one_thread_stops_them_all_and_is_told_with_its_traceback(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    other = Turns()
    crew.hire("other", other)
    crew.hire("fails", Fails())
    assert crew.stop.wait(5)
    assert crew.crashed
    assert "bug in thread fails" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_who_makes_no_progress_is_stuck_but_not_who_waits_for_long() -> None:
    clock, hook = FakeClock(), threading.excepthook
    crew = Crew(clock)
    threading.excepthook = hook
    crew.progress("patient", 600)
    crew.progress("hangs")
    crew.progress("ship")
    clock.advance(59)
    assert crew.stuck() == []
    crew.progress("ship")
    clock.advance(2)
    assert crew.stuck() == ["hangs"]


@pytest.mark.parametrize("abstract", [True, False])
def test_the_service_manager_hears_what_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    name = f"simpang-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        systemd.notify("READY=1", "STATUS=fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.notify("READY=1")
