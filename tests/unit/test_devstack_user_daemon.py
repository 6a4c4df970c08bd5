"""Where the libvirt daemon of an ordinary user keeps its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.processes import Registry
from devstack.teardown import take_down
from devstack.user_daemon import LONGEST, VARIABLES, UserDaemon


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No libvirtd is installed; links lie in a directory of the test's own."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr("devstack.user_daemon.shutil.which", lambda *_names, **_more: None)
    return folder


def test_its_files_lie_in_the_stacks_directory_by_a_short_name(
    tmp_path: Path, surroundings: Path
) -> None:
    directory = tmp_path / ("long" * 20)
    variables = UserDaemon(directory, Registry(directory)).start()
    assert set(variables) == set(VARIABLES)
    [name] = set(variables.values())
    assert Path(name).parent == surroundings
    assert Path(name).resolve() == directory / "user"
    assert (Path(name) / "libvirt" / "qemu.conf").exists()
    take_down(directory)
    assert not Path(name).is_symlink()


def test_a_link_that_leads_elsewhere_is_replaced(tmp_path: Path, surroundings: Path) -> None:
    directory = tmp_path / ("long" * 20)
    daemon = UserDaemon(directory, Registry(directory))
    name = Path(daemon.start()["XDG_RUNTIME_DIR"])
    name.unlink()
    name.symlink_to(tmp_path)
    assert Path(daemon.start()["XDG_RUNTIME_DIR"]).resolve() == directory / "user"


def test_a_short_path_stands_for_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("devstack.user_daemon.LONGEST", 400)
    variables = UserDaemon(tmp_path, Registry(tmp_path)).start()
    assert set(variables.values()) == {str(tmp_path / "user")}


def test_the_longest_socket_has_room() -> None:
    socket = "/libvirt/qemu/lib/domain-9999-12345678901234567890/monitor.sock"
    assert LONGEST + len(socket) <= 107
