"""Files that appear whole or not at all, and are their owner's only (mode 0600) from the start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def drafted(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside ``path`` with this content, safe on the disk; what is left of it is removed.

    The caller gives it its name: ``draft.replace(path)``.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # made with O_EXCL and mode 0600
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def refuse_shared(path: Path) -> None:
    """See that a secret is its owner's only.

    :raises OSError: the file is not there
    :raises ValueError: others may read it
    """
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} must be readable by its owner only (chmod 600)")
