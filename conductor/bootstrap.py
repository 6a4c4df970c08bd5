"""Fills a new cloud's database; everything here can be repeated without harm."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from conductor.db.models import (
    Assignment,
    Cloud,
    Flavor,
    Image,
    LogIn,
    Network,
    Port,
    Project,
    User,
)
from conductor.identity import ROLES
from conductor.image_store import Stored
from conductor.passwords import Passwords
from conductor.turn import Turn
from paddock.errors import BadRequest, Conflict, NotFound

DEFAULT_NETWORK = "default"
LONGEST_NAME = 255
RESERVED_ADDRESSES = 9

FLAVORS = (
    ("42", "paddock.nano", 1, 128, 1),
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
)
"""Id, name, vCPUs, MiB, GiB; ids and sizes are those that compute clouds have had for long."""


@dataclass(frozen=True)
class Account:
    """A user with a role in a project."""

    name: str
    project: str
    role: str
    password: str = field(repr=False)

    def check(self) -> None:
        """Raise BadRequest when something is not as it must be."""
        for what, value in (("name", self.name), ("project", self.project)):
            if not value or len(value) > LONGEST_NAME or not value.isprintable():
                raise BadRequest(f"users: {what} must be 1 to {LONGEST_NAME} printable characters.")
        if self.role not in ROLES:
            raise BadRequest(f"users: role must be one of {', '.join(ROLES)}, not {self.role!r}.")


@dataclass(frozen=True)
class Subnet:
    """The addresses of a network: ``first`` to ``last`` are given to guests."""

    cidr: str
    gateway: str
    first: str
    last: str


@dataclass(frozen=True)
class NewImage:
    """An image whose file is in the store."""

    name: str
    disk_format: str
    stored: Stored
    properties: dict[str, str] = field(default_factory=dict)


def plan_subnet(
    cidr: str, gateway: str | None = None, first: str | None = None, last: str | None = None
) -> Subnet:
    """Check a subnet and fill in what is not given: no gateway, and all but the first few.

    :raises BadRequest: an address is malformed or not in the subnet, or the gateway is a guest's
    """
    try:
        network = ipaddress.ip_network(cidr)
        low = ipaddress.ip_address(first) if first else network[1 + RESERVED_ADDRESSES]
        high = ipaddress.ip_address(last) if last else network[-2]
        router = ipaddress.ip_address(gateway) if gateway else None
    except (ValueError, IndexError) as error:
        raise BadRequest(f"network: {error}.") from None
    if low not in network or high not in network or int(low) > int(high):
        raise BadRequest(f"network: first and last must lie in {cidr}, in this order.")
    if router is not None and (router not in network or int(low) <= int(router) <= int(high)):
        raise BadRequest(f"network: the gateway must lie in {cidr} and not from first to last.")
    return Subnet(cidr, str(router) if router else "", str(low), str(high))


def ensure_cloud(turn: Turn) -> None:
    """The cloud has an id, and flavors: the usual ones if it has none."""
    if turn.get(Cloud, 1) is None:
        turn.add(Cloud(one=1, id=turn.new_id()))
    if turn.first(sa.select(Flavor)) is None:
        for key, name, vcpus, memory_mb, disk_gb in FLAVORS:
            turn.add(Flavor(id=key, name=name, vcpus=vcpus, memory_mb=memory_mb, disk_gb=disk_gb))


def ensure_account(
    turn: Turn, passwords: Passwords, account: Account, may_create_project: bool = True
) -> None:
    """The user has this password and this role in the project; a new password ends all tokens.

    :raises NotFound: there is no such project, and it may not be made
    """
    account.check()
    project = turn.first(sa.select(Project).where(Project.name == account.project))
    if project is None and not may_create_project:
        raise NotFound(f"There is no project {account.project!r}; --create-project makes it.")
    if project is None:
        project = Project(id=turn.new_id(), name=account.project)
        turn.add(project)
    user = turn.first(sa.select(User).where(User.name == account.name))
    if user is None:
        user = _new_user(turn, passwords, account)
    elif not passwords.verify(user.password_hash, account.password):
        change_user(turn, account.name, password_hash=passwords.hash(account.password))
    if turn.get(Assignment, (user.id, project.id, account.role)) is None:
        turn.add(Assignment(user_id=user.id, project_id=project.id, role=account.role))


def change_user(turn: Turn, name: str, **values: object) -> None:
    """Change a user's columns, such as the password; end all tokens, forget failed log-ins.

    :raises NotFound: there is no such user
    """
    if turn.change(User, User.name == name, epoch=User.epoch + 1, **values) != 1:
        raise NotFound(f"There is no user {name!r}.")
    turn.drop(LogIn, LogIn.who.in_(sa.select(User.id).where(User.name == name)))


def _new_user(turn: Turn, passwords: Passwords, account: Account) -> User:
    user = User(
        id=turn.new_id(),
        name=account.name,
        password_hash=passwords.hash(account.password),
        enabled=True,
        epoch=1,
    )
    turn.add(user)
    return user


def ensure_network(turn: Turn, name: str, subnet: Subnet) -> None:
    """The network for all projects has this subnet.

    :raises Conflict: it has another one, and addresses of it are in use
    """
    found = turn.first(sa.select(Network).where(Network.name == name, Network.project_id.is_(None)))
    values = vars(subnet)
    if found is None:
        turn.add(Network(id=turn.new_id(), name=name, **values))
        return
    if {key: getattr(found, key) for key in values} == values:
        return
    if found.cidr != subnet.cidr and turn.first(sa.select(Port).where(_of(found))):
        raise Conflict(f"network: {name} has addresses in use and cannot become {subnet.cidr}.")
    turn.must(Network, Network.id == found.id, **values)


def _of(network: Network) -> sa.ColumnElement[bool]:
    return Port.network_id == network.id


def ensure_image(turn: Turn, new: NewImage) -> str:
    """The image of that name has this content; gives its id.

    An older image of the name is marked deleted: instances made from it still have it.
    """
    named = (Image.name == new.name, Image.owner.is_(None), Image.status != "deleted")
    for found in turn.all(sa.select(Image).where(*named).order_by(Image.id)):
        if _is_same(found, new):
            return found.id
        turn.change(Image, Image.id == found.id, status="deleted", updated_at=turn.now)
    return _add_image(turn, new)


def _is_same(found: Image, new: NewImage) -> bool:
    mine = (found.checksum, found.disk_format, found.properties)
    return mine == (new.stored.checksum, new.disk_format, new.properties)


def _add_image(turn: Turn, new: NewImage) -> str:
    kernel_like = new.disk_format in ("aki", "ari")
    image = Image(
        id=turn.new_id(),
        name=new.name,
        owner=None,
        visibility="public",
        status="active",
        disk_format=new.disk_format,
        container_format=new.disk_format if kernel_like else "bare",
        size=new.stored.size,
        checksum=new.stored.checksum,
        file=new.stored.file,
        min_disk=0 if kernel_like else new.stored.room,
        properties=new.properties,
        created_at=turn.now,
        updated_at=turn.now,
    )
    turn.add(image)
    return image.id


def ensure_direct_boot(
    turn: Turn, name: str, kernel: Stored, ramdisk: Stored | None, command_line: str
) -> dict[str, str]:
    """Images of a kernel and a ramdisk; gives the properties of the image that boots with them."""
    properties = {"kernel_id": ensure_image(turn, NewImage(f"{name}-kernel", "aki", kernel))}
    if ramdisk is not None:
        properties["ramdisk_id"] = ensure_image(turn, NewImage(f"{name}-ramdisk", "ari", ramdisk))
    return properties | ({"os_command_line": command_line} if command_line else {})


def bootstrap(
    turn: Turn, passwords: Passwords, accounts: Sequence[Account], subnet: Subnet | None
) -> None:
    """All of a new cloud.

    :param subnet: of the default network; None leaves that as it is, or makes the usual one
    """
    ensure_cloud(turn)
    for account in accounts:
        ensure_account(turn, passwords, account)
    default = sa.select(Network).where(Network.name == DEFAULT_NETWORK)
    if subnet is not None or turn.first(default) is None:
        ensure_network(turn, DEFAULT_NETWORK, subnet or plan_subnet("10.20.0.0/16"))
