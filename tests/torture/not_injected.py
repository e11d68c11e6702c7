"""The faults that a campaign cannot inject on one machine: what each is, and what it would take."""

from __future__ import annotations

from typing import Final

OPEN: Final[tuple[tuple[str, str], ...]] = (
    ("Power lost by a real SD card or SSD, with its own cache and wear levelling", "boards whose supply a relay cuts"),
    (
        "A UPS or battery that lies, falls silent or swings back and forth",
        "the hardware, or its protocol spoken by a stand-in; `tests/edge_agent/test_power.py` plays readings",
    ),
    ("Under-voltage, heat and a slow processor", "a Raspberry Pi, a bad power supply and an oven"),
    ("A kernel that hangs, and the hardware watchdog that resets it", "a board with a watchdog"),
    ("A board without a clock that boots in the past", "a board; the clock of the agent's process is moved instead"),
    ("Little memory: the agent is ended by the kernel", "control groups of a system that runs systemd"),
    ("A service manager that restarts a hung agent", "a system that runs systemd; the rig restarts what has ended"),
    ("Loss, delay, reordering and damage of single packets", "a kernel with `netem`, or a link emulator"),
    (
        "One direction of the fibre dead; packets above a size vanish; a port taken down beneath open connections",
        "network namespaces around each site; the campaign takes down a port of its own and cuts the link beside it",
    ),
    ("The address of the site changes; names are not resolved", "a DHCP and a DNS server in such a namespace"),
    ("Fifty sites return at once", "more processors, or agents without cameras"),
    ("The database server of the centre is away or full", "PostgreSQL in the campaign; it runs on SQLite"),
    ("The S3 store of the archive is away or slow", "a store in the campaign; it runs on a folder"),
    ("A year of uptime, counters that overflow", "a time namespace around the agent"),
)
