"""`make fuzz [MINUTES=n] [ONLY=target] [RECORD=yes]`: each target for so many minutes, led by the code it reaches.

What was learnt stays in `.cache/fuzz` and is where the next run begins; so do inputs that were found to break
something. RECORD=yes writes the page of the documentation anew. The exit code is 1 when something was found, or when
there is no fuzzer here, and 2 for a target that is none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.fuzz import report
from tests.fuzz.report import Fuzzed
from tests.fuzz.targets import TARGETS

CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
_MEMORY: Final = Path("/dev/shm")
_LONGEST_S: Final = 30
"""An input that takes longer hangs, which is a finding."""
_EXECUTIONS: Final = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
_PROGRESS: Final = re.compile(r"^#(\d+)\s.*?cov: (\d+)", re.MULTILINE)
_FINDING: Final = re.compile(
    r"^ ?=+ Uncaught Python exception: =+\n(?P<what>.+)|ERROR: libFuzzer: (?P<other>.+)", re.MULTILINE
)
_KEPT: Final = re.compile(r"Test unit written to (\S+)")


def main() -> int:
    only, minutes = os.environ.get("ONLY", ""), float(os.environ.get("MINUTES") or "1")
    if only and only not in TARGETS:
        print(f"ONLY={only}: no such target; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if find_spec("atheris") is None:
        here = f"Python {platform.python_version()} on {platform.machine()}"
        print(f"There is no atheris for {here}. What it would try, `make test` tries with hypothesis.", file=sys.stderr)
        return 1
    words = [f"MINUTES={minutes:g}"] if os.environ.get("MINUTES") else []
    command = " ".join(["make fuzz", *words, *([f"ONLY={only}"] if only else [])])
    fuzzed = []
    for name in [only] if only else TARGETS:
        fuzzed.append(fuzz(name, minutes * 60))
        print(f"{name}: {fuzzed[-1].executions:,} executions", flush=True)
    report.show(fuzzed, command)
    report.write(fuzzed, command)
    print(f"written to {report.REPORT}")
    if os.environ.get("RECORD"):
        report.record()
        print(f"written to {report.PAGE}")
    return 1 if any(one.findings for one in fuzzed) else 0


def fuzz(name: str, seconds: float, cache: Path = CACHE) -> Fuzzed:
    """The target was fuzzed for so long, or until something was found."""
    corpus, broken = cache / name, cache / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    for seed in TARGETS[name].seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={_LONGEST_S}", "-print_final_stats=1"]
    options += ["-rss_limit_mb=4096", "-max_len=65536", f"-artifact_prefix={broken}/{name}-"]
    begun = time.monotonic()
    # What a target stores goes to memory where there is some: it is about bytes, not about the disk.
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", name, *options, str(corpus)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=os.environ | {"TMPDIR": scratch},
        )
    said = done.stdout + done.stderr
    progress = _PROGRESS.findall(said)
    assert progress, f"{name} did not begin:\n{said[-2000:]}"
    executions = _EXECUTIONS.search(said)
    findings = []
    if done.returncode:
        match, kept = _FINDING.search(said), _KEPT.search(said)
        what = (match["what"] or match["other"]) if match else said.strip().splitlines()[-1]
        findings = [f"{what}; input: {kept[1] if kept else 'not kept'}"]
    return Fuzzed(
        target=name,
        minutes=round((time.monotonic() - begun) / 60, 2),
        executions=int(executions[1]) if executions else int(progress[-1][0]),
        branches=max(int(branches) for _, branches in progress),
        findings=tuple(findings),
    )


if __name__ == "__main__":
    sys.exit(main())
