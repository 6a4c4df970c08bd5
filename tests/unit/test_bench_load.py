"""How a run of the load ends."""

from __future__ import annotations

import json

import pytest

from bench import load


@pytest.mark.parametrize(("wrong", "status"), [("", 0), ("host h1 counts 5 vCPUs", 1)])
def test_it_fails_when_a_check_found_anything_wrong(
    wrong: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(load.PARTS, "burst", lambda: {"wrong": wrong})
    monkeypatch.setitem(load.PARTS, "slow", lambda: {"list alone, ms": {}})
    assert load.main(["burst", "slow", "--json"]) == status
    assert json.loads(capsys.readouterr().out)["burst"]["wrong"] == wrong
