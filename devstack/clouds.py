"""`.paddock/clouds.yaml`: the users of a stack, as OpenStack's clients read them."""

import secrets
from pathlib import Path
from typing import Any

import yaml

from devstack.private import write_private

USERS = {
    "paddock-admin": ("admin", "admin", "admin"),
    "paddock-demo": ("demo", "demo", "member"),
    "paddock-reader": ("reader", "demo", "reader"),
    "paddock-other": ("other", "other", "member"),
}
"""Cloud → user name, project name, role in that project."""


def write_clouds(path: Path, url: str, ca: Path | None = None) -> dict[str, Any]:
    """Write the file (mode 0600), with the passwords that it had or else new random ones.

    :param url: scheme, host and port of the API.
    :param ca: the file with the certificate of the CA that the API's is of, for https.
    :returns: the clouds by name, as written.
    """
    known = read_clouds(path) if path.exists() else {}
    clouds = {cloud: _entry(cloud, url, _password(known.get(cloud)), ca) for cloud in USERS}
    _write(path, {"clouds": clouds})
    return clouds


def read_clouds(path: Path) -> dict[str, Any]:
    """The clouds of a file by name."""
    clouds: dict[str, Any] = yaml.safe_load(path.read_text())["clouds"]
    return clouds


def write_users(path: Path, clouds: dict[str, Any]) -> Path:
    """Write what `paddock-manage bootstrap` reads (mode 0600): users, projects, roles, passwords.

    :param clouds: as `write_clouds` returned them.
    """
    users = [
        {"name": user, "password": clouds[cloud]["auth"]["password"], "project": project,
         "role": role}
        for cloud, (user, project, role) in USERS.items()
    ]  # fmt: skip
    _write(path, {"users": users})
    return path


def _write(path: Path, document: dict[str, Any]) -> None:
    write_private(path, yaml.safe_dump(document, default_flow_style=False, sort_keys=False))


def _password(entry: dict[str, Any] | None) -> str:
    # A letter in front, so that YAML never needs quotes around it.
    return str(entry["auth"]["password"]) if entry else f"p{secrets.token_urlsafe(24)}"


def _entry(cloud: str, url: str, password: str, ca: Path | None) -> dict[str, Any]:
    user, project, _ = USERS[cloud]
    return {
        "auth": {
            "auth_url": f"{url}/identity/v3",
            "username": user,
            "password": password,
            "project_name": project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": "paddock",
        "interface": "public",
        "identity_api_version": 3,
        **({"cacert": str(ca)} if ca else {}),
    }
