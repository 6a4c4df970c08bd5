"""Passwords, kept as argon2id hashes only."""

from __future__ import annotations

import argon2

SHORTEST = 8
LONGEST = 1024


class Passwords:
    """Makes hashes and checks passwords against them."""

    def __init__(self) -> None:
        # OWASP's least for argon2id: holds for stolen hashes, and 16 log-ins at once take 300 MiB.
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """A salted hash.

        :raises ValueError: the password is too short or too long
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise ValueError(f"A password must have {SHORTEST} to {LONGEST} characters")
        return self._hasher.hash(password)

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the right one.

        :param password_hash: None for a user who is not there; it takes the same time
        """
        try:
            self._hasher.verify(password_hash or self._nobody, password[: LONGEST + 1])
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return password_hash is not None
