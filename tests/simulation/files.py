"""A machine's small files, in memory: what its agent processes leave to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Disk:
    """The files of one machine, by path.

    :ivar on_write: called before each change; may let the writer die or wait
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.on_write: Callable[[], object] = lambda: None


class File:
    """As much of ``pathlib.Path`` as the agent uses."""

    __slots__ = ("_disk", "_path")

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path

    def __truediv__(self, name: str) -> File:
        return File(self._disk, f"{self._path}/{name}")

    def __str__(self) -> str:
        return self._path

    @property
    def parent(self) -> File:
        """See ``pathlib``."""
        return File(self._disk, self._path.rpartition("/")[0])

    @property
    def stem(self) -> str:
        """See ``pathlib``."""
        return self.name.rpartition(".")[0]

    @property
    def name(self) -> str:
        """See ``pathlib``."""
        return self._path.rpartition("/")[2]

    def with_name(self, name: str) -> File:
        """See ``pathlib``."""
        return self.parent / name

    def joinpath(self, name: str) -> File:
        """See ``pathlib``."""
        return self / name

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Directories are there."""

    def glob(self, pattern: str) -> Iterator[File]:
        """Files right below whose names end like the pattern."""
        head, tail = f"{self._path}/", pattern.lstrip("*")
        for path in sorted(self._disk.files):
            if path.startswith(head) and path.endswith(tail):
                yield File(self._disk, path)

    def read_bytes(self) -> bytes:
        """See ``pathlib``."""
        try:
            return self._disk.files[self._path]
        except KeyError:
            raise FileNotFoundError(self._path) from None

    def write_bytes(self, content: bytes) -> None:
        """See ``pathlib``."""
        self._disk.on_write()
        self._disk.files[self._path] = content

    def replace(self, target: File) -> None:
        """See ``pathlib``."""
        self._disk.on_write()
        self._disk.files[target._path] = self._disk.files.pop(self._path)

    def unlink(self, missing_ok: bool = False) -> None:
        """See ``pathlib``."""
        self._disk.on_write()
        self._disk.files.pop(self._path, None)
