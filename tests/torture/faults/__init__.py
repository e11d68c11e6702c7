"""Everything that is done to a city, from outside of the product only; a module for each kind.

A new fault is one more entry of one of the lists: what it is called, a sentence for people, the parts that it lays
hands on (no two faults at a time share one), how long it lasts, what begins and ends it, and what it may cost by the
rule of the account. A fault that loses nothing has no excuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.torture.crossing import Centre, Crossing
from tests.torture.faults.agent import AGENT
from tests.torture.faults.camera import CAMERA
from tests.torture.faults.centre import CENTRE
from tests.torture.faults.clock import CLOCK
from tests.torture.faults.damage import DAMAGE
from tests.torture.faults.disk import DISK
from tests.torture.faults.fault import Fault
from tests.torture.faults.link import LINK
from tests.torture.faults.strangers import STRANGERS

__all__ = ["AT_CENTRE", "AT_SITE", "RULES", "Fault"]

AT_SITE: Final[Sequence[Fault[Crossing]]] = [*LINK, *DAMAGE, *AGENT, *CAMERA, *CLOCK, *STRANGERS, *DISK]
AT_CENTRE: Final[Sequence[Fault[Centre]]] = CENTRE
RULES: Final = {fault.name: fault.rule for fault in AT_SITE} | {fault.name: fault.rule for fault in AT_CENTRE}
