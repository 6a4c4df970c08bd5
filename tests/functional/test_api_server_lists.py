"""Lists of servers: pages, filters, order, and whose they show."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from falcon.testing import Result

from api.server_fields import SORT_KEYS
from tests.fixtures.cloud import Client

Create = Callable[..., Result]


def test_pages_follow_their_links_to_the_end(create: Create, member: Client) -> None:
    names = [f"page{number}" for number in range(5)]
    for name in names:
        create(member, name=name, networks="none")
    path, seen = "servers?limit=2&name=^page&sort_key=display_name&sort_dir=asc", []
    while path:
        document = member.get(path).json
        seen += [row["name"] for row in document["servers"]]
        found = [link["href"] for link in document.get("servers_links", [])]
        path = f"{urlsplit(found[0]).path}?{urlsplit(found[0]).query}" if found else ""
        if path:
            assert parse_qs(urlsplit(path).query)["limit"] == ["2"]
    assert seen == names


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=x", "limit=99999999999999999999", "limit=1&limit=2", "sort_key=nothing",
     "sort_dir=up", "marker=11111111-2222-3333-4444-555555555555", "changes-since=yesterday",
     "all_tenants=perhaps", "name=%00", "unknown=1", "status=NONSENSE", "changes-since=9999-99-99",
     "deleted=maybe", "power_state=x", "name=" + "x" * 300],
)  # fmt: skip
def test_a_wrong_query_is_a_bad_request(member: Client, query: str) -> None:
    answer = member.get(f"servers/detail?{query}")
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"]


def test_filters_narrow_the_list(create: Create, member: Client, flavor: str, image: str) -> None:
    made = create(member, name="needle", availability_zone="az2").json["server"]["id"]
    member.await_state(made, "active")
    for query in ("name=needle", "name=^needle$", "status=ACTIVE&name=needle", f"uuid={made}",
                  f"image={image}&name=needle", f"flavor={flavor}&name=needle",
                  "availability_zone=az2&name=needle", "vm_state=active&name=needle",
                  "deleted=False&name=needle", "changes-since=2020-01-01T00:00:00Z&name=needle",
                  "power_state=1&name=needle", "locked=false&name=needle"):  # fmt: skip
        rows = member.get(f"servers/detail?{query}").json["servers"]
        assert [row["id"] for row in rows] == [made], query
    for query in ("name=haystack", "status=ERROR", "locked=true", "limit=1&status=PAUSED", "tags=a",
                  "tags-any=a,b&name=needle"):  # fmt: skip
        assert member.get(f"servers/detail?{query}").json["servers"] == [], query


def test_every_filter_that_is_admitted_is_served(
    create: Create, member: Client, flavor: str
) -> None:
    made = create(member, name="Fine_tooth").json["server"]["id"]
    found = member.await_state(made, "active")
    created, launched = found["created"], found["OS-SRV-USG:launched_at"]
    address = next(iter(found["addresses"].values()))[0]["addr"]
    for query in (f"hostname={found['OS-EXT-SRV-ATTR:hostname']}", "launch_index=0", "progress=0",
                  f"created_at={created}", f"launched_at={launched}", "config_drive=False",
                  "auto_disk_config=0", "root_device_name=/dev/vda", "not-tags=a", "key_name=",
                  f"fixed_ip=^{address}$", "not-tags-any=a,b",
                  f"instance_type_id={flavor}"):  # fmt: skip
        rows = member.get(f"servers/detail?name=Fine_tooth&{query}").json["servers"]
        assert [row["id"] for row in rows] == [made], query
    for query in ("hostname=other", "launch_index=1", "progress=50", "config_drive=True",
                  "created_at=2020-01-01T00:00:00Z", "terminated_at=2020-01-01", "key_name=mine",
                  "launched_at=2020-01-01", "access_ip_v4=10.0.0.1", "access_ip_v6=fe80::1",
                  "auto_disk_config=True", "kernel_id=x", "ramdisk_id=x", "locked_by=owner",
                  "root_device_name=/dev/sda", "instance_type_id=nothing", "ip6=fe80::1",
                  "status=REBOOT", "status=HARD_REBOOT"):  # fmt: skip
        assert member.get(f"servers/detail?name=Fine_tooth&{query}").json["servers"] == [], query
    for query in ("config_drive=perhaps", "launched_at=yesterday", "launch_index=x", "progress=x"):
        assert member.get(f"servers?{query}").status_code == 400, query
    assert member.act(made, "lock").status_code == 202
    assert member.get("servers?name=Fine_tooth&locked_by=owner").json["servers"]
    assert not member.get("servers?name=Fine_tooth&locked_by=admin").json["servers"]


def test_a_filter_on_what_is_shown_pages_too(create: Create, member: Client) -> None:
    made = [create(member, name="same", networks="none").json["server"]["id"] for _ in range(3)]
    first = member.get("servers?hostname=same&limit=2").json
    assert [row["id"] for row in first["servers"]] == made[:0:-1]
    rest = urlsplit(first["servers_links"][0]["href"])
    assert [row["id"] for row in member.get(f"{rest.path}?{rest.query}").json["servers"]] == made[
        :1
    ]


@pytest.mark.parametrize("key", sorted(SORT_KEYS))
def test_every_sort_key_that_is_admitted_is_served(admin: Client, server: str, key: str) -> None:
    query = f"servers?all_tenants=1&sort_key={key}"
    assert server in [row["id"] for row in admin.get(query).json["servers"]]
    assert admin.get(f"{query}&marker={server}").status_code == 200


def test_another_projects_server_marks_no_page(
    create: Create, member: Client, other: Client, server: str
) -> None:
    create(other, networks="none")
    unknown = "11111111-2222-3333-4444-555555555555"
    for query in ("sort_dir=asc", "sort_dir=desc"):
        told = other.get(f"servers?{query}&marker={server}")
        assert told.status_code == 400
        assert told.text == other.get(f"servers?{query}&marker={unknown}").text.replace(
            unknown, server
        )


def test_an_administrator_who_names_a_project_means_all_of_them(
    admin: Client, member: Client, server: str
) -> None:
    project = member.show(server)["tenant_id"]
    for name in ("project_id", "tenant_id"):
        rows = admin.get(f"servers?{name}={project}").json["servers"]
        assert server in [row["id"] for row in rows]
        assert admin.get(f"servers?{name}={project}&all_tenants=0").json["servers"] == []


def test_hosts_are_not_found_out_by_filters_or_order(
    create: Create, member: Client, admin: Client
) -> None:
    made = create(member, name="hidden").json["server"]["id"]
    member.await_state(made, "active")
    for query in ("host=nowhere", "node=nowhere", "deleted=True"):
        rows = member.get(f"servers?name=hidden&{query}").json["servers"]
        assert [row["id"] for row in rows] == [made], query
    assert admin.get("servers?all_tenants=1&host=nowhere").json["servers"] == []
    assert member.get("servers?sort_key=host").status_code == 403
    assert admin.get("servers?sort_key=host").status_code == 200


def test_all_tenants_are_an_administrators(member: Client, other: Client, admin: Client,
                                           server: str) -> None:  # fmt: skip
    assert member.get("servers?all_tenants=1").status_code == 403
    for client, seen in ((admin, True), (other, False)):
        query = "servers?all_tenants=1" if client is admin else "servers"
        ids = [row["id"] for row in client.get(query).json["servers"]]
        assert (server in ids) is seen
