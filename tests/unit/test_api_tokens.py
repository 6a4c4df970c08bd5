"""Tokens: signed, expiring, for one project."""

from __future__ import annotations

import base64

import jwt
import pytest

from api.tokens import Tokens
from paddock.errors import Unauthorized
from paddock.records import Identity
from paddock.token_keys import Key

KEY = Key(b"k" * 64)
WHO = Identity(
    user_id="u1", user_name="demo", user_epoch=3, project_id="p1", project_name="demo",
    roles=["member", "reader"],
)  # fmt: skip


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_says_who_it_was_issued_to() -> None:
    tokens = Tokens(lambda: [KEY], 60)
    token, _ = tokens.issue(WHO, ["password"])
    ctxt = tokens.read(token).context("req-1")
    assert (ctxt.user_id, ctxt.user_epoch, ctxt.project_id) == ("u1", 3, "p1")
    assert ctxt.roles == ("member", "reader")


def test_a_token_ends() -> None:
    clock = Clock()
    tokens = Tokens(lambda: [KEY], 60, clock)
    token, _ = tokens.issue(WHO, ["password"])
    clock.now += 59
    tokens.read(token)
    clock.now += 1
    with pytest.raises(Unauthorized):
        tokens.read(token)


def test_a_token_bought_with_a_token_ends_no_later() -> None:
    clock = Clock()
    tokens = Tokens(lambda: [KEY], 60, clock)
    _, first = tokens.issue(WHO, ["password"])
    clock.now += 30
    _, second = tokens.issue(WHO, ["password", "token"], latest=first.exp)
    assert second.exp == first.exp


def forged() -> list[str]:
    genuine, _ = Tokens(lambda: [KEY], 60).issue(WHO, ["password"])
    claims = jwt.decode(genuine, KEY.secret, ["HS256"], audience="paddock")
    named = {"kid": KEY.name}
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode()
    head, body, signature = genuine.split(".")
    return [
        jwt.encode(claims, b"x" * 64, "HS256", named),
        jwt.encode(claims, None, "none", named),
        jwt.encode(claims, KEY.secret, "HS512", named),
        jwt.encode(claims | {"aud": "other"}, KEY.secret, "HS256", named),
        jwt.encode({k: v for k, v in claims.items() if k != "exp"}, KEY.secret, "HS256", named),
        jwt.encode(claims | {"roles": "admin"}, KEY.secret, "HS256", named),
        jwt.encode(claims, KEY.secret, "HS256"),
        jwt.encode(claims, KEY.secret, "HS256", {"kid": "another"}),
        f"{deep}.{body}.{signature}",
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
        Tokens(lambda: [KEY], 60).read(token)


def test_tokens_outlive_a_new_key_until_their_own_is_forgotten() -> None:
    old, new = KEY, Key(b"n" * 64)
    keys = [old]
    tokens = Tokens(lambda: keys, 60)
    before, _ = tokens.issue(WHO, ["password"])
    keys = [old, new]
    assert jwt.get_unverified_header(tokens.issue(WHO, ["password"])[0])["kid"] == old.name
    keys = [new, old]
    after, _ = tokens.issue(WHO, ["password"])
    assert jwt.get_unverified_header(after)["kid"] == new.name
    assert {tokens.read(token).sub for token in (before, after)} == {"u1"}
    keys = [new]
    tokens.read(after)
    with pytest.raises(Unauthorized):
        tokens.read(before)
