"""Whatever is asked of the API, no 500, and no answer that ``/openapi.json`` does not know."""

from __future__ import annotations

import os

import pytest

from tests.fixtures.cloud import Client, Cloud
from tests.hostile_requests import Hostile

FEWER = os.environ.get("PADDOCK_CONCURRENCY") == "eventlet"
"""All of them are sent under one backend, some under the other."""
REQUESTS = int(os.environ.get("PADDOCK_REQUESTS", "200" if FEWER else "1000"))
SEED = int(os.environ.get("PADDOCK_SEED", "1"))


@pytest.mark.timeout(max(300, REQUESTS // 5))
def test_requests_of_all_kinds_get_the_answers_that_are_described(
    cloud: Cloud, admin: Client, member: Client, image: str
) -> None:
    print(f"\nPADDOCK_SEED={SEED} PADDOCK_REQUESTS={REQUESTS}")
    cloud.settle()
    hostile = Hostile(cloud, {"admin": admin, "member": member}, image, SEED)
    hostile.send(REQUESTS)
    print(f"{hostile.answers.total()} answers, {len(hostile.answers)} kinds of them")
    print("\n".join(f"{count:6} {kind}" for kind, count in sorted(hostile.answers.items())))
    print("\n".join([*hostile.busy, *hostile.findings]))
    assert not hostile.findings
    assert len(hostile.busy) <= REQUESTS // 100, "a machine may be slow, but not so"
