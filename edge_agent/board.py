"""What the jobs of the agent tell each other: the latest value of each fact, and nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge_agent.core.report import words

if TYPE_CHECKING:
    from edge_agent.contract import Message


class Board:
    """The latest message of each group. Any thread may post and read: messages are frozen, posting is one assignment.

    A group is the last part of the topic: `power`, `camera/north`. `changed` is set when the words of a message
    changed, not merely its numbers, so that news is told at once and noise is not.
    """

    def __init__(self) -> None:
        self.changed = threading.Event()
        self._facts: dict[str, Message] = {}

    def post(self, group: str, fact: Message) -> None:
        """`fact` is the latest of its group."""
        before = self._facts.get(group)
        self._facts[group] = fact
        if before is None or words(before) != words(fact):
            self.changed.set()

    def facts(self) -> dict[str, Message]:
        """The latest message of each group that has one."""
        return dict(self._facts)
