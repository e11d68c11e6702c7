"""The archive: immutable objects in a local folder or in an S3-compatible store. The only module with objects.

What `put` has written when it returns survives a power cut of this machine (local) or is the store's word (S3).
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from central.errors import ArchiveDown, NoRoom, NothingThere, SettingsError
from central.settings import S3Settings

_FOLDERS_REMEMBERED: Final = 4096
_WRITE_BYTES: Final = 64 * 1024
"""For a larger write the kernel looks for as much memory in one piece, which can take longer than the disk does."""
_WALKED_AT_ONCE: Final = 1000
_ASIDE: Final = "quarantine/"
_DRAFTS: Final = "drafts"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing tells of it."""

    key: str
    size_bytes: int
    stored_ms: int


class Archive:
    """Objects by key; a key is a relative path that begins with a date."""

    def __init__(self, objects: LocalStore | S3Store, folder: Path | None, reserve_bytes: int) -> None:
        self._objects = objects
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._durable_folders: set[Path] = set()

    @classmethod
    def open(cls, url: str, s3: S3Settings, reserve_bytes: int) -> Self:
        """The archive at a folder or `s3://bucket/prefix`; SettingsError."""
        scheme, bucket, path, *_ = urlsplit(url)
        if scheme == "s3":
            return cls(_s3_store(bucket, path.strip("/"), s3), None, 0)
        if scheme not in ("", "file") or bucket:
            raise SettingsError(f"archive_url: {url!r} is not supported", "use a folder or s3://bucket/prefix")
        folder = Path(path).absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot make the archive folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(f"the archive folder {folder} is not writable", "change its owner, or archive_url")
        return cls(LocalStore(folder), folder, reserve_bytes)

    def put(self, key: str, data: bytes | bytearray) -> None:
        """The object is stored durably under the key, whole or not at all; NoRoom, ArchiveDown."""
        try:
            if self._folder is None:
                obstore.put(self._objects, key, data)
                return
            free_bytes = shutil.disk_usage(self._folder).free
            if free_bytes < self._reserve_bytes + len(data):
                raise NoRoom(f"the archive disk has {free_bytes} bytes left, {self._reserve_bytes} are kept free")
            self._place(self._folder, key, data)
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive does not take {key}: {_reason(error)}") from error

    def sweep(self) -> None:
        """What a centre before this one had half-written when its power went is gone; for the one that serves."""
        if self._folder is None:
            return
        try:
            for draft in (self._folder / _DRAFTS).glob("*"):
                draft.unlink()
        except OSError as error:
            raise ArchiveDown(f"the archive cannot be swept: {_reason(error)}") from error

    def _place(self, folder: Path, key: str, data: bytes | bytearray) -> None:
        """Written aside, then named, then flushed: obstore does not flush, and leaves its drafts among the objects."""
        path, whole = folder / key, memoryview(data)
        # What ends in # and a number is in no listing of obstore.
        draft = folder / _DRAFTS / f"{secrets.token_hex(8)}#0"
        for parent in (draft.parent, path.parent):
            parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                for start in range(0, len(data), _WRITE_BYTES):
                    file.write(whole[start : start + _WRITE_BYTES])
                file.flush()
                draft.rename(path)
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        self._settle(path)

    def _settle(self, path: Path) -> None:
        """Flush the folder of an object and, where that is new, the folders above."""
        for folder in path.parents:
            _fsync(folder)
            if folder in self._durable_folders or folder == self._folder:
                break
        if len(self._durable_folders) >= _FOLDERS_REMEMBERED:
            self._durable_folders.clear()
        self._durable_folders.add(path.parent)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Those bytes of the object; NothingThere, ArchiveDown."""
        try:
            return bytes(obstore.get_range(self._objects, key, start=offset, length=length))
        except FileNotFoundError as error:
            raise NothingThere(f"the archive has no object {key}") from error
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive does not give {key}: {_reason(error)}") from error

    def size(self, key: str) -> int | None:
        """How many bytes the object has, None when there is none; ArchiveDown."""
        try:
            return obstore.head(self._objects, key)["size"]
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive does not tell of {key}: {_reason(error)}") from error

    def walk(self) -> Iterator[list[Stored]]:
        """Every object but those put aside, some at a time, in no order; ArchiveDown."""
        try:
            for some in obstore.list(self._objects, chunk_size=_WALKED_AT_ONCE):
                yield [
                    Stored(meta["path"], meta["size"], round(meta["last_modified"].timestamp() * 1000))
                    for meta in some
                    if not meta["path"].startswith(_ASIDE)
                ]
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive cannot be listed: {_reason(error)}") from error

    def put_aside(self, key: str) -> None:
        """The object is where nobody takes it for an item, its bytes untouched; ArchiveDown."""
        try:
            obstore.rename(self._objects, key, _ASIDE + key)
            if self._folder is not None:
                self._settle(self._folder / (_ASIDE + key))
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive does not put {key} aside: {_reason(error)}") from error

    def delete(self, key: str) -> None:
        """The object is gone; it is no error when it was not there."""
        try:
            obstore.delete(self._objects, key)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise ArchiveDown(f"the archive does not delete {key}: {_reason(error)}") from error


def _s3_store(bucket: str, prefix: str, s3: S3Settings) -> S3Store:
    given: dict[str, Any] = {"region": s3.region}
    if prefix:
        given["prefix"] = prefix
    if s3.endpoint:
        given["endpoint"] = s3.endpoint
    if s3.access_key and s3.secret_key:
        given["access_key_id"] = s3.access_key.get_secret_value()
        given["secret_access_key"] = s3.secret_key.get_secret_value()
    plain = bool(s3.endpoint and s3.endpoint.startswith("http://"))
    try:
        return S3Store(
            bucket,
            client_options={"allow_http": plain, "timeout": "60s", "connect_timeout": "5s"},
            retry_config={"max_retries": 2},
            **given,
        )
    except BaseError as error:
        raise SettingsError(f"archive_url or [s3]: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
