"""A card that answers nothing for seconds, as cards do when they tidy up within: not a picture is lost.

What comes meanwhile waits in the connection with the camera. The kernel of the site takes it in, if it may; what it
does not take the camera has to keep, or loses.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from tests.rig.clips import Clip, make
from tests.rig.netns import CENTRE_ADDRESS, Cable
from tests.rig.parts import require_network_namespaces, require_program, require_rtsp_server
from tests.rig.power_disk import PowerDisk
from tests.rig.processes import Program, until
from tests.rig.recorder import segments
from tests.system.footage import archived_pictures, camera

CLIP = Clip(width=640, height=480, gop=50, seconds=8, bitrate="8M")
STALL_S = 5.0
ROLE = Path(__file__).parents[2] / "deploy" / "ansible" / "roles" / "edge_agent"
SETTING = re.compile(r"(net\.ipv4\.tcp_rmem) = (.+)")
AT_CAMERA_BYTES = 250_000
"""A quarter of a second of it; without the setting it is 1.7 MB."""


def kept_bytes(process: int) -> int:
    """What the connections in the network of that process have not got rid of."""
    lines = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    return sum(int(line.split()[4].partition(":")[0], 16) for line in lines)


def test_a_disk_that_stalls_for_five_seconds_costs_no_picture_and_asks_no_patience_of_the_camera(
    tmp_path: Path,
) -> None:
    require_rtsp_server()
    ip, nft = require_network_namespaces(), require_program("nft")
    setting = SETTING.search((ROLE / "tasks" / "service.yml").read_text())
    assert setting is not None
    with Cable(ip, nft) as cable, PowerDisk(tmp_path / "disk", 128) as disk:
        spool = disk.mount() / "spool"
        subprocess.run([*cable.at_site, "sysctl", "--quiet", f"{setting[1]}={setting[2]}"], check=True)
        with camera(make(CLIP), tmp_path, cable.at_centre, ["--address", CENTRE_ADDRESS, "--eager"]) as real:
            command = [*cable.at_site, sys.executable, "-m", "tests.rig.recorder", spool, real.url]
            with Program("recorder", command, tmp_path / "recorder.log") as recorder:
                recorder.start()
                recorder.until(lambda: (spool / "ready").is_dir() and segments(spool), 30, "a segment")
                for _ in range(2):
                    writes, begun_s = disk.tally.writes, time.monotonic()
                    disk.stall(round(STALL_S * 1000))
                    time.sleep(STALL_S - 0.5)  # the length of the stall, not a hope
                    # A key frame on its way is there for a moment; what the site does not take in stays and grows.
                    until(lambda: kept_bytes(real.process.pid) < AT_CAMERA_BYTES, 0.4, "the camera gets rid of all")
                    assert disk.tally.writes == writes
                    until(lambda: disk.tally.writes > writes, 5, "the disk goes on")  # noqa: B023
                    assert time.monotonic() - begun_s >= STALL_S
                    recorded = len(segments(spool))
                    recorder.until(lambda: len(segments(spool)) > recorded + 1, 30, "it records on")  # noqa: B023
                recorder.kill()
            stored = archived_pictures((path for *_, path in segments(spool)), CLIP.codec)
            facts = [facts for _, facts, _ in segments(spool)]
            names = [name for name, *_ in segments(spool)]
        sent = [picture.digest for picture in real.sent()]
    first, last = (sent.index(digest) for digest in (next(iter(stored)), list(stored)[-1]))
    assert [digest for digest in sent[first : last + 1] if stored[digest] != 1] == []
    assert last - first > 2 * STALL_S * 25
    assert {one.session for one in facts} == {1}
    assert not any(one.holes or one.gap_before_ms for one in facts)
    assert all(after.start_ms == before.end_ms for before, after in pairwise(names))
