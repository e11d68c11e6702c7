"""One batch of cuts in a process of its own: `python -m tests.cuts.batch VICTIM SEED CUTS FOLDER`.

VICTIM is `agent` or `centre`. Under `eatmydata`, which makes fsync and its kin do nothing, it is a careless one. The
outcome is in FOLDER/outcome.json.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.cuts.agent import cut_agent
from tests.cuts.centre import cut_centre
from tests.cuts.lives import warm_up

VICTIMS = {"agent": cut_agent, "centre": cut_centre}


def main() -> None:
    victim, seed, cuts, folder = sys.argv[1:]
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    warm_up()
    careless = "eatmydata" in os.environ.get("LD_PRELOAD", "")
    outcome = VICTIMS[victim](int(seed), int(cuts), where, f"careless {victim}" if careless else victim)
    outcome.write(where / "outcome.json")


if __name__ == "__main__":
    main()
