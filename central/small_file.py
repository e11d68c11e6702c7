"""The few small files that the centre keeps beside database and archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from central.errors import HomeDown

OURS: Final = 0o600
"""What nobody else may read."""


def write(path: Path, text: str, mode: int = OURS) -> None:
    """The file holds the text; whoever reads it sees the old or the new, never a half. HomeDown.

    Nor after a power cut, which would leave an empty file without the flush: a reader without a password.
    """
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise HomeDown(f"cannot write {path}: {error.strerror}", "free room on its disk, or mend it") from error
