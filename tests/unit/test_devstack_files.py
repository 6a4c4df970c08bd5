"""The files that a stack writes: users, configuration."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml
from oslo_config import cfg

from devstack.clouds import USERS, read_clouds, write_clouds, write_users
from devstack.cmd import main
from devstack.place import CHECKOUT, Place, StackFailed, api_port, require_free_port, zone
from devstack.private import secret_file, write_private
from devstack.settings import render, write_settings

URL = "http://127.0.0.1:8774"


def test_clouds_file_is_private_plain_yaml(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    write_clouds(path, URL)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(character in text for character in "{}[]\"'")
    assert set(yaml.safe_load(text)["clouds"]) == set(USERS)
    assert "auth_url: http://127.0.0.1:8774/identity/v3\n" in text


def test_passwords_are_kept_and_all_different(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    first = write_clouds(path, URL)
    assert write_clouds(path, URL) == first == read_clouds(path)
    assert len({cloud["auth"]["password"] for cloud in first.values()}) == len(USERS)


def test_users_file_names_each_cloud_with_its_password(tmp_path: Path) -> None:
    clouds = write_clouds(tmp_path / "clouds.yaml", URL)
    path = write_users(tmp_path / "users.yaml", clouds)
    users = yaml.safe_load(path.read_text())["users"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert {
        "name": "reader",
        "project": "demo",
        "role": "reader",
        "password": clouds["paddock-reader"]["auth"]["password"],
    } in users


def test_settings_are_read_back_by_oslo_config_as_they_were_meant(tmp_path: Path) -> None:
    path = write_settings(tmp_path / "etc" / "x.conf", {"DEFAULT": {"word": "a$b%c=d"}})
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("word"))
    conf([], default_config_files=[str(path)], default_config_dirs=[])
    assert conf.word == "a$b%c=d"
    assert path.stat().st_mode & 0o777 == 0o600


def test_settings_keep_sections_apart() -> None:
    assert render({"DEFAULT": {"a": 1}, "b": {"c": "d"}}) == "[DEFAULT]\na = 1\n\n[b]\nc = d\n"


@pytest.mark.parametrize(
    ("size", "zones"),
    [(2, ["az1", "az2"]), (3, ["az1", "az1", "az2"]), (4, ["az1", "az1", "az2", "az2"])],
)
def test_every_size_has_both_zones(size: int, zones: list[str]) -> None:
    assert [zone(number, size) for number in range(1, size + 1)] == zones


def test_a_secret_is_made_once_and_is_private_from_its_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "broker" / "api.password"
    secret = secret_file(path)
    assert len(secret) >= 32
    assert secret_file(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_what_was_readable_for_all_is_private_once_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "definitions.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_private(path, "secret")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("secret", 0o600)


def test_a_relative_directory_is_the_same_for_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADDOCK_DIRECTORY", "elsewhere")
    assert Place().directory == CHECKOUT / "elsewhere"
    monkeypatch.setenv("PADDOCK_DIRECTORY", str(tmp_path))
    assert Place().directory == tmp_path
    monkeypatch.setenv("PADDOCK_DIRECTORY", "")
    assert Place().directory == CHECKOUT / ".paddock"


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_directory_that_is_none_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
) -> None:
    monkeypatch.setenv("PADDOCK_DIRECTORY", str(tmp_path / "file"))
    monkeypatch.setenv("PADDOCK_HYPERVISOR", "fake")
    (tmp_path / "file").touch()
    assert main([command]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("directory", [".", "/", str(CHECKOUT.parent), "tests/.."])
def test_a_directory_that_holds_the_checkout_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], directory: str
) -> None:
    monkeypatch.setenv("PADDOCK_DIRECTORY", directory)
    assert main(["status"]) == 1
    assert "PADDOCK_DIRECTORY must not hold the checkout" in capsys.readouterr().err


def test_a_port_that_another_program_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PADDOCK_API_PORT", str(port))
        with pytest.raises(StackFailed, match=f"port {port} .*PADDOCK_API_PORT=N"):
            require_free_port()
    require_free_port()


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1", "\u0663"])
def test_what_is_no_port_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("PADDOCK_API_PORT", port)
    with pytest.raises(StackFailed, match="PADDOCK_API_PORT must be a number from 1 to 65535"):
        api_port()
