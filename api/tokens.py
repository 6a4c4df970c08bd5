"""Signed tokens: who a caller is, until when."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import msgspec

from paddock.context import RequestContext
from paddock.errors import Unauthorized
from paddock.records import Identity

ALGORITHM = "HS256"
AUDIENCE = "paddock"
SHORTEST_KEY = 32
LONGEST_TOKEN = 8192
REFUSED = "The token is malformed, expired or ended; get a new one."


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says; ``iat`` and ``exp`` are seconds since 1970, ``jti`` is its audit id."""

    sub: str
    user_name: str
    user_epoch: int
    project_id: str
    project_name: str
    roles: list[str]
    methods: list[str]
    iat: int
    exp: int
    jti: str
    aud: str = AUDIENCE

    def context(self, request_id: str) -> RequestContext:
        """The caller of a request with this token."""
        return RequestContext(
            request_id=request_id,
            user_id=self.sub,
            user_name=self.user_name,
            user_epoch=self.user_epoch,
            project_id=self.project_id,
            project_name=self.project_name,
            roles=tuple(self.roles),
        )


class Tokens:
    """Issues tokens and reads them.

    :param key: shared by all API processes
    :param lifetime: seconds
    """

    def __init__(self, key: bytes, lifetime: int, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._lifetime = lifetime
        self._clock = clock

    def issue(
        self, identity: Identity, methods: list[str], latest: int | None = None
    ) -> tuple[str, Claims]:
        """A token for an identity.

        :param latest: when it ends at the latest, for one that was bought with another token
        """
        now = int(self._clock())
        claims = Claims(
            sub=identity.user_id,
            user_name=identity.user_name,
            user_epoch=identity.user_epoch,
            project_id=identity.project_id,
            project_name=identity.project_name,
            roles=identity.roles,
            methods=methods,
            iat=now,
            exp=min(now + self._lifetime, latest or now + self._lifetime),
            jti=secrets.token_urlsafe(16),
        )
        return jwt.encode(msgspec.to_builtins(claims), self._key, ALGORITHM), claims

    def read(self, token: str) -> Claims:
        """What the token says.

        :raises Unauthorized: it is not ours, or expired
        """
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise Unauthorized(REFUSED)
        options = {
            "require": ["exp", "iat", "sub", "aud", "jti"],
            "verify_exp": False,
            "verify_iat": False,
        }
        try:
            document = jwt.decode(
                token,
                self._key,
                [ALGORITHM],
                audience=AUDIENCE,
                options=options,  # type: ignore[arg-type]
            )
            claims = msgspec.convert(document, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            raise Unauthorized(REFUSED) from None
        if claims.exp <= self._clock():
            raise Unauthorized(REFUSED)
        return claims


def load_key(path: Path) -> bytes:
    """The key in a file, which is made (mode 0600) when it is not there.

    :raises ValueError: others may read the file, or the key is too short
    """
    if not path.exists():
        _make_key(path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} must be readable by its owner only (chmod 600)")
    key = path.read_bytes().strip()
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"{path} must hold a key of at least {SHORTEST_KEY} characters")
    return key


def _make_key(path: Path) -> None:
    """Appear whole or not at all, whoever else makes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # made with O_EXCL and mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64) + "\n")
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
