"""The file of the keys that sign tokens, as API processes read it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from api.key_file import KeyFile
from paddock.token_keys import ensure_keys, make_key, write_keys


def test_a_key_is_made_once_for_all_who_ask_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "token.key"
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(KeyFile(path).keys()[0].name))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["token.key"]


def test_a_changed_file_counts_at_once_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    processes = [KeyFile(path) for _ in range(2)]
    old = processes[0].keys()
    assert processes[1].keys() == old
    new = [make_key(), *old]
    write_keys(path, new)
    assert [process.keys() for process in processes] == [new, new]


@pytest.mark.parametrize(
    ("content", "mode"), [("", 0o600), ("short", 0o600), ("k" * 64, 0o644), (None, 0)], ids=str
)
def test_a_file_that_is_not_right_leaves_the_keys_as_they_were(
    tmp_path: Path, content: str | None, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token.key"
    file = KeyFile(path)
    before = file.keys()
    path.unlink()
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with caplog.at_level(logging.ERROR):
        assert [file.keys(), file.keys()] == [before, before]
    assert len(caplog.records) == 1
    assert before[0].secret.decode() not in caplog.text
    path.unlink(missing_ok=True)
    assert file.keys() == before
    assert ensure_keys(path) == file.keys()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    KeyFile(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        KeyFile(path)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.write_text(f"{'k' * 64}\nshort\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="at least 32"):
        KeyFile(path)


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    (key,) = KeyFile(tmp_path / "token.key").keys()
    assert key.secret.decode() not in f"{key!r} {key} {key.name}"
