"""The README's first command on real parts: a real guest moves between zones, unchanged."""

from __future__ import annotations

import json
import os
import signal
import stat

import pytest
import yaml

from tests.fixtures.stacks import Stack, stack

pytestmark = pytest.mark.clouds

__all__ = ["stack"]


def test_embedded_demo_moves_a_real_guest_and_down_leaves_nothing(stack: Stack) -> None:
    printed = stack.run("embedded")
    assert str(stack.place.clouds) in printed
    status = json.loads(stack.run("status", "--json"))
    assert {host["host"] for host in status["hosts"]} >= {"h1", "h2", "h3"}
    stack.run("up")
    stack.run("down")
    assert stack.remains() == []


def test_credentials_are_for_their_owner_in_plain_yaml(stack: Stack) -> None:
    stack.run("up", hypervisor="fake")
    text = stack.place.clouds.read_text()
    clouds = yaml.safe_load(text)["clouds"]
    assert set(clouds) == {"paddock-admin", "paddock-demo", "paddock-reader", "paddock-other"}
    assert not set("'\"{}[]") & set(text)
    assert stat.S_IMODE(stack.place.clouds.stat().st_mode) == 0o600
    for cloud in clouds.values():
        assert cloud["auth"]["auth_url"].endswith("/identity/v3")


def test_down_follows_a_process_that_was_killed(stack: Stack) -> None:
    stack.run("up", hypervisor="fake")
    status = json.loads(stack.run("status", "--json"))
    os.kill(status["processes"][0]["pid"], signal.SIGKILL)
    stack.run("down", "--purge")
    assert stack.remains() == []
    assert not stack.place.directory.exists()


def test_down_follows_starts_that_were_killed_half_way(stack: Stack) -> None:
    for process in ("rabbitmq", "libvirtd-h2", "compute-h1"):
        stack.kill_once_running(process, "multihost")
    stack.run("down", "--purge")
    assert stack.remains() == []


def test_what_cannot_be_done_is_one_plain_line(stack: Stack) -> None:
    done = stack.try_run("up", hypervisor="xen")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "PADDOCK_HYPERVISOR must be fake or libvirt, not 'xen'\n"
