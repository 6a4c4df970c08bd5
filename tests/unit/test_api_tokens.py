"""Tokens: signed, expiring, for one project; and the file of their key."""

from __future__ import annotations

import threading
from pathlib import Path

import jwt
import pytest

from api.tokens import Tokens, load_key
from paddock.errors import Unauthorized
from paddock.records import Identity

KEY = b"k" * 64
WHO = Identity(
    user_id="u1", user_name="demo", user_epoch=3, project_id="p1", project_name="demo",
    roles=["member", "reader"],
)  # fmt: skip


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_says_who_it_was_issued_to() -> None:
    tokens = Tokens(KEY, 60)
    token, _ = tokens.issue(WHO, ["password"])
    ctxt = tokens.read(token).context("req-1")
    assert (ctxt.user_id, ctxt.user_epoch, ctxt.project_id) == ("u1", 3, "p1")
    assert ctxt.roles == ("member", "reader")


def test_a_token_ends() -> None:
    clock = Clock()
    tokens = Tokens(KEY, 60, clock)
    token, _ = tokens.issue(WHO, ["password"])
    clock.now += 59
    tokens.read(token)
    clock.now += 1
    with pytest.raises(Unauthorized):
        tokens.read(token)


def test_a_token_bought_with_a_token_ends_no_later() -> None:
    clock = Clock()
    tokens = Tokens(KEY, 60, clock)
    _, first = tokens.issue(WHO, ["password"])
    clock.now += 30
    _, second = tokens.issue(WHO, ["password", "token"], latest=first.exp)
    assert second.exp == first.exp


def forged() -> list[str]:
    genuine, _ = Tokens(KEY, 60).issue(WHO, ["password"])
    claims = jwt.decode(genuine, KEY, ["HS256"], audience="paddock")
    head, body, signature = genuine.split(".")
    return [
        jwt.encode(claims, b"x" * 64, "HS256"),
        jwt.encode(claims, None, "none"),
        jwt.encode(claims | {"aud": "other"}, KEY, "HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "exp"}, KEY, "HS256"),
        jwt.encode(claims | {"roles": "admin"}, KEY, "HS256"),
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body}.",
        "",
        "x",
        "a.b.c",
        "é.b.c",
        "a" * 100_000,
    ]


@pytest.mark.parametrize("token", forged(), ids=range(len(forged())))
def test_a_forged_token_is_refused_without_a_word_about_why(token: str) -> None:
    with pytest.raises(Unauthorized, match="malformed, expired or ended"):
        Tokens(KEY, 60).read(token)


def test_the_key_is_made_once_for_all_who_ask_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "token.key"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(load_key(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["token.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    load_key(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        load_key(path)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="at least 32"):
        load_key(path)
