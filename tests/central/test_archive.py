"""One suite for every archive: a local folder, and an S3-compatible store over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from central.archive import Archive
from central.errors import ArchiveDown, NoRoom, NothingThere, SettingsError
from central.settings import S3Settings
from tests.rig.link import free_port
from tests.rig.parts import require_program

KEY = "2026/11/24/aloha/north/item.mp4"


def test_what_was_put_can_be_read_in_parts(archive: Archive) -> None:
    archive.put(KEY, bytearray(b"0123456789"))
    assert archive.read(KEY, 0, 10) == b"0123456789"
    assert archive.read(KEY, 3, 4) == b"3456"


def test_an_object_may_be_put_again(archive: Archive) -> None:
    archive.put(KEY, b"the same")
    archive.put(KEY, b"the same")
    assert archive.read(KEY, 0, 8) == b"the same"


def test_a_large_object_is_whole(archive: Archive) -> None:
    data = os.urandom(12 * 1024 * 1024)
    archive.put(KEY, data)
    assert archive.read(KEY, 0, len(data)) == data


def test_what_is_not_there_is_said_so(archive: Archive) -> None:
    with pytest.raises(NothingThere):
        archive.read(KEY, 0, 1)
    archive.delete(KEY)
    archive.put(KEY, b"x")
    archive.delete(KEY)
    with pytest.raises(NothingThere):
        archive.read(KEY, 0, 1)


def test_what_a_power_cut_left_half_written_is_swept_away(tmp_path: Path) -> None:
    """It is under no final name, and gone once a centre begins to serve."""
    archive = Archive.open(str(tmp_path), S3Settings(), 0)
    archive.put(KEY, b"whole")
    draft = tmp_path / "drafts" / "0123456789abcdef#0"
    draft.write_bytes(b"ha")
    archive.sweep()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [Path(KEY)]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    archive = Archive.open(str(tmp_path), S3Settings(), 0)
    (tmp_path / KEY).mkdir(parents=True)
    with pytest.raises(ArchiveDown):
        archive.put(KEY, b"x")
    assert not list((tmp_path / "drafts").iterdir())


def test_a_full_disk_is_no_room(tmp_path: Path) -> None:
    archive = Archive.open(str(tmp_path), S3Settings(), 2**60)
    with pytest.raises(NoRoom):
        archive.put(KEY, b"x")


def test_a_store_that_is_down_is_said_in_one_line(tmp_path: Path) -> None:
    nobody = S3Settings(
        endpoint=f"http://127.0.0.1:{free_port()}", access_key=SecretStr("k"), secret_key=SecretStr("geheim")
    )
    archive = Archive.open("s3://footage", nobody, 0)
    for trouble in (lambda: archive.put(KEY, b"x"), lambda: archive.read(KEY, 0, 1)):
        with pytest.raises(ArchiveDown) as down:
            trouble()
        assert "\n" not in str(down.value)
        assert "geheim" not in str(down.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "/proc/no/such/place"])
def test_what_is_no_archive_is_a_setting_to_mend(url: str) -> None:
    with pytest.raises(SettingsError):
        Archive.open(url, S3Settings(), 0)


def test_a_local_object_survives_a_power_cut(tmp_path: Path) -> None:
    """The kernel is told to flush the file, then each folder that is new: seen in its system calls."""
    strace = require_program("strace")
    code = (
        "import sys; from central.archive import Archive; from central.settings import S3Settings;"
        "archive = Archive.open(sys.argv[1], S3Settings(), 0);"
        "archive.put('2026/11/a', b'x'); archive.put('2026/11/b', b'x')"
    )
    trace = tmp_path / "trace"
    subprocess.run(
        [strace, "-f", "-y", "-e", "trace=fsync,rename", "-o", trace, sys.executable, "-c", code, tmp_path / "archive"],
        check=True,
        timeout=60,
    )
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines() if str(tmp_path) in line]
    flushed = [
        line.partition("<")[2].partition(">")[0].removeprefix(f"{tmp_path}/") if line.startswith("fsync") else "rename"
        for line in calls
    ]
    assert flushed == [
        *("rename", "archive/2026/11/a", "archive/2026/11", "archive/2026", "archive"),
        *("rename", "archive/2026/11/b", "archive/2026/11"),
    ]
