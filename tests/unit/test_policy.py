"""The policy's defaults can be overridden by name, in a file that is read at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from conductor.policy import Policy
from paddock import config
from paddock.context import RequestContext

READER = RequestContext(user_id="u", project_id="p", roles=["reader"])
POWER_OFF = "paddock:servers:poweroff"


def policy(tmp_path: Path, text: str | None) -> Policy:
    file = tmp_path / "policy.yaml"
    if text is not None:
        file.write_text(text)
    return Policy(config.load(overrides={"conductor": {"policy_file": str(file)}}))


def test_a_rule_in_the_file_stands_above_the_default(tmp_path: Path) -> None:
    assert not policy(tmp_path, None).allows(READER, POWER_OFF)
    changed = policy(tmp_path, f'"{POWER_OFF}": "rule:project_reader_or_admin"\n')
    assert changed.allows(READER, POWER_OFF)
    assert not changed.allows(READER, POWER_OFF, {"project_id": "another"})
    assert not changed.allows(READER, "paddock:servers:poweron")


@pytest.mark.parametrize("text", ["a: [", '"a": 5', "- a"])
def test_a_file_that_is_none_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="policy_file"):
        policy(tmp_path, text)
