"""paddock-manage: what each command does, and that it refuses in one sentence."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from conductor import manage
from conductor.bootstrap import plan_subnet
from conductor.db.models import Assignment, Cloud, Flavor, Image, Network, Project, User
from conductor.db.session import Database
from conductor.passwords import Passwords
from paddock.errors import BadRequest

USERS = [
    {"name": "admin", "password": "admin-password", "project": "admin", "role": "admin"},
    {"name": "demo", "password": "demo-password", "project": "demo", "role": "member"},
]


class Site:
    """A conductor's host: configuration, database, image store."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.url = f"sqlite:///{root}/paddock.db"
        self._capsys = capsys
        self.configuration = root / "paddock.conf"
        self.configuration.write_text(
            f"[database]\nconnection = {self.url}\n[compute]\nimage_store = {root}/images\n"
            f"[identity]\nkey_file = {root}/token.key\n"
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors of a command."""
        status = manage.main(["--config-file", str(self.configuration), *arguments])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def do(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        status, out, err = self.run(*arguments)
        assert (status, err) == (0, "")
        return out

    def refused(self, *arguments: str) -> str:
        """The one line of a command that must be refused."""
        status, out, err = self.run(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("paddock-manage: ")
        assert err.count("\n") == 1
        return err

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        path = self.root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    def users_file(self, users: object = USERS, mode: int = 0o600) -> str:
        return self.file("users.yaml", yaml.safe_dump({"users": users}), mode)

    def rows(self, query: sa.Select) -> list:
        database = Database(self.url)
        found = database.read(lambda session: list(session.scalars(query)))
        database.dispose()
        return found

    def count(self) -> dict[str, int]:
        kinds = (Cloud, User, Project, Assignment, Flavor, Network, Image)
        return {kind.__name__: len(self.rows(sa.select(kind))) for kind in kinds}


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


@pytest.fixture
def site(bare: Site) -> Site:
    bare.do("db", "upgrade")
    return bare


@pytest.mark.parametrize("command", [["check"], ["service", "list"]])
def test_nothing_works_on_a_database_without_schema(bare: Site, command: list[str]) -> None:
    missing = bare.refused(*command)
    assert "name a conductor's --config-file" in missing
    assert "run 'paddock-manage db upgrade'" in missing
    assert not (bare.root / "paddock.db").exists()
    (bare.root / "paddock.db").touch()
    assert "schema is missing" in bare.refused(*command)


def test_bootstrap_fills_a_cloud_and_can_be_repeated(site: Site) -> None:
    arguments = ["bootstrap", "--users-file", site.users_file()]
    network = ["--network-cidr", "10.7.0.0/24", "--network-gateway", "10.7.0.1"]
    site.do(*arguments, *network)
    first = site.count()
    assert first | {"Flavor": 0} == {
        "Cloud": 1, "User": 2, "Project": 2, "Assignment": 2, "Flavor": 0, "Network": 1, "Image": 0
    }  # fmt: skip
    site.do(*arguments)
    site.do(*arguments, *network)
    assert site.count() == first
    (made,) = site.rows(sa.select(Network))
    found = (made.name, made.cidr, made.gateway, made.first, made.last)
    assert found == ("default", "10.7.0.0/24", "10.7.0.1", "10.7.0.10", "10.7.0.254")


def test_default_flavors_have_the_usual_ids_and_a_nano(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    flavors = {row.name: row for row in site.rows(sa.select(Flavor))}
    nano = flavors["paddock.nano"]
    assert (nano.vcpus, nano.memory_mb, nano.disk_gb) == (1, 128, 1)
    assert (flavors["m1.tiny"].id, flavors["m1.xlarge"].id) == ("1", "5")


def test_flavors_that_an_administrator_removed_stay_away(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    database = Database(site.url)
    database.transaction(lambda session: session.execute(sa.delete(Flavor).where(Flavor.id != "1")))
    database.dispose()
    site.do("bootstrap", "--users-file", site.users_file())
    assert site.rows(sa.select(Flavor.name)) == ["m1.tiny"]


def test_a_new_password_in_the_file_ends_the_users_tokens(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    changed = [USERS[0], USERS[1] | {"password": "another-password"}]
    site.do("bootstrap", "--users-file", site.users_file(changed))
    users = {user.name: user for user in site.rows(sa.select(User))}
    assert (users["admin"].epoch, users["demo"].epoch) == (1, 2)
    assert Passwords().verify(users["demo"].password_hash, "another-password")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda site: site.users_file(mode=0o640), "chmod 600"),
        (lambda site: site.users_file([{"name": "x"}]), "project"),
        (lambda site: site.users_file([USERS[0] | {"role": "king"}]), "admin, member, reader"),
        (lambda site: site.users_file([USERS[0] | {"name": "a\nb"}]), "name"),
        (lambda site: site.users_file([USERS[0] | {"password": "short"}]), "8 to 1024"),
        (lambda site: site.users_file([USERS[0] | {"password": 12345678}]), "password"),
        (lambda site: site.file("users.yaml", "users: [{: secret"), "not YAML"),
        (lambda site: site.file("users.yaml", "!!python/name:os.system"), "not YAML"),
        (lambda site: f"{site.root}/nowhere", "No such file"),
    ],
)
def test_a_users_file_that_is_not_right_changes_nothing(
    site: Site, make: Callable[[Site], str], said: str
) -> None:
    error = site.refused("bootstrap", "--users-file", make(site))
    assert said in error
    assert "secret" not in error
    assert set(site.count().values()) == {0}


@pytest.mark.parametrize(
    ("subnet", "said"),
    [
        (("10.7.0.1/24",), "host bits"),
        (("banana",), "banana"),
        (("10.7.0.0/30",), "network"),
        (("10.7.0.0/24", "10.8.0.1"), "gateway"),
        (("10.7.0.0/24", "10.7.0.20"), "gateway"),
        (("10.7.0.0/24", None, "10.7.0.50", "10.7.0.40"), "in this order"),
        (("10.7.0.0/24", None, "10.9.0.50"), "must lie in"),
    ],
)
def test_a_subnet_that_makes_no_sense_is_refused(subnet: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        plan_subnet(*subnet)


def test_a_user_can_be_added_and_given_roles(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = site.file("secret", "first-password\n")
    user = ["user", "add", "eve", "--project", "demo"]
    site.do(*user, "--role", "reader", "--password-file", secret, "--create-project")
    monkeypatch.setattr("sys.stdin", io.StringIO("other-password\n"))
    site.do(*user, "--role", "member", "--password-file", "-")
    (eve,) = site.rows(sa.select(User))
    assert sorted(site.rows(sa.select(Assignment.role))) == ["member", "reader"]
    assert eve.epoch == 2
    assert "chmod 600" in site.refused(
        *user, "--role", "member", "--password-file", site.file("open", "x" * 9, 0o644)
    )


def test_a_user_of_a_project_that_is_not_there_is_refused(site: Site) -> None:
    secret = site.file("secret", "first-password\n")
    user = ["user", "add", "eve", "--role", "member", "--password-file", secret]
    assert "'dmeo'; --create-project" in site.refused(*user, "--project", "dmeo")
    assert site.rows(sa.select(Project.name)) == []
    assert site.rows(sa.select(User)) == []


def test_a_user_is_disabled_enabled_and_given_a_password_and_each_ends_their_tokens(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.do("bootstrap", "--users-file", site.users_file())

    def demo() -> User:
        return {user.name: user for user in site.rows(sa.select(User))}["demo"]

    seen = []
    for command in ("disable", "enable"):
        site.do("user", command, "demo")
        seen.append((demo().enabled, demo().epoch))
    assert seen == [(False, 2), (True, 3)]
    monkeypatch.setattr("sys.stdin", io.StringIO("another-password\n"))
    said = site.do("user", "password", "demo", "--password-file", "-")
    assert "another-password" not in said
    assert Passwords().verify(demo().password_hash, "another-password")
    assert demo().epoch == 4
    assert [user.epoch for user in site.rows(sa.select(User).where(User.name == "admin"))] == [1]


def test_a_user_who_is_not_there_or_a_bad_password_changes_nothing(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    short = site.file("secret", "short\n")
    assert "'dmeo'" in site.refused("user", "disable", "dmeo")
    assert "8 to 1024" in site.refused("user", "password", "demo", "--password-file", short)
    seen = site.file("seen", "long-enough-password\n", 0o644)
    assert "chmod 600" in site.refused("user", "password", "demo", "--password-file", seen)
    assert {user.epoch for user in site.rows(sa.select(User))} == {1}


def test_a_key_is_added_then_signs_and_then_is_the_only_one(bare: Site) -> None:
    path = bare.root / "token.key"
    (first,) = bare.do("key", "add").splitlines()
    assert "key add" in bare.refused("key", "use")
    kept = path.read_text().strip()
    _, second = bare.do("key", "add").splitlines()
    new = second.replace("verifies", "signs")
    assert bare.do("key", "use").splitlines() == [new, first.replace("signs", "verifies")]
    assert bare.do("key", "list") == f"{new}\n{first.replace('signs', 'verifies')}\n"
    assert bare.do("key", "drop") == f"{new}\n"
    assert kept not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in bare.root.iterdir() if "key" in entry.name] == ["token.key"]


def test_an_image_is_copied_whole_and_listed_once(site: Site) -> None:
    content = bytes(3 << 20) + b"end"
    disk = site.file("disk", content)
    add = ["image", "add", "--name", "guest", "--format", "raw", "--file", disk]
    boot = ["--kernel", site.file("k", "kernel"), "--ramdisk", site.file("r", "ramdisk")]
    for _ in range(2):
        site.do(*add, *boot, "--command-line", "console=ttyS0 quiet")
    images = {row.name: row for row in site.rows(sa.select(Image))}
    assert set(images) == {"guest", "guest-kernel", "guest-ramdisk"}
    guest = images["guest"]
    assert guest.properties == {
        "kernel_id": images["guest-kernel"].id,
        "ramdisk_id": images["guest-ramdisk"].id,
        "os_command_line": "console=ttyS0 quiet",
    }
    assert (guest.size, guest.min_disk) == (len(content), 1)
    assert guest.checksum == hashlib.sha256(content).hexdigest()
    stored = site.root / "images" / guest.file
    assert stored.read_bytes() == content
    assert stored.stat().st_blocks * 512 < len(content) / 2
    assert len(list(stored.parent.iterdir())) == 3


def test_new_content_under_an_old_name_is_a_new_image(site: Site) -> None:
    for content in ("one", "two"):
        disk = site.file("disk", content)
        site.do("image", "add", "--name", "guest", "--format", "raw", "--file", disk)
    rows = site.rows(sa.select(Image).order_by(Image.created_at))
    assert [row.status for row in rows] == ["deleted", "active"]


def test_an_image_that_is_not_what_is_stated_is_refused(site: Site) -> None:
    disk = site.file("disk", "no image")
    add = ["image", "add", "--name", "guest", "--format", "qcow2"]
    assert "must be qcow2, and is raw" in site.refused(*add, "--file", disk)
    backed = site.file("backed", b"QFI\xfb" + (3).to_bytes(4, "big") + (72).to_bytes(8, "big") * 70)
    assert "must stand for itself" in site.refused(*add, "--file", backed)
    assert "need --kernel" in site.refused(*add, "--file", disk, "--command-line", "quiet")
    assert site.rows(sa.select(Image)) == []


def test_services_are_listed_and_the_ledger_is_checked(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    assert "binary" in site.do("service", "list")
    assert "All invariants hold" in site.do("check")
    database = Database(site.url)
    database.transaction(lambda session: session.execute(sa.update(Project).values(used_cores=7)))
    database.dispose()
    status, out, _ = site.run("check")
    assert status == 1
    assert out.count("counts 0, 7, 0 but has 0, 0, 0") == 2


def test_a_check_repairs_only_when_it_is_told_to(site: Site) -> None:
    site.do("bootstrap", "--users-file", site.users_file())
    database = Database(site.url)
    database.transaction(lambda session: session.execute(sa.update(Project).values(used_cores=7)))
    database.dispose()
    assert [site.run("check")[0] for _ in range(2)] == [1, 1]
    assert {row.used_cores for row in site.rows(sa.select(Project))} == {7}
    site.run("check", "--repair")
    assert {row.used_cores for row in site.rows(sa.select(Project))} == {0}
    assert "All invariants hold" in site.do("check")


def test_samples_name_every_option_and_rule(site: Site) -> None:
    assert "#transport_url = " in site.do("config", "sample")
    assert '#"os_compute_api:servers:create": ' in site.do("policy", "sample")


def test_a_configuration_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert manage.main(["--config-file", "/nowhere/paddock.conf", "check"]) == 2
    assert "/nowhere/paddock.conf" in capsys.readouterr().err
