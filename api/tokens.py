"""Signed tokens: who a caller is, until when."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import jwt
import msgspec

from paddock.context import RequestContext
from paddock.errors import Unauthorized
from paddock.records import Identity
from paddock.token_keys import Key

ALGORITHM = "HS256"
AUDIENCE = "paddock"
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

    :param keys: gives the keys, the same in all API processes; the first signs
    :param lifetime: seconds
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[Key]],
        lifetime: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
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
        key = self._keys()[0]
        named = {"kid": key.name}
        return jwt.encode(msgspec.to_builtins(claims), key.secret, ALGORITHM, named), claims

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
                self._key_of(token).secret,
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

    def _key_of(self, token: str) -> Key:
        """The key that a token names; the token's signature is yet to be checked with it."""
        name = jwt.get_unverified_header(token).get("kid")
        for key in self._keys():
            if key.name == name:
                return key
        raise Unauthorized(REFUSED)
