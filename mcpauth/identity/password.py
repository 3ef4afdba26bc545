"""Passwords: argon2id, away from the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import argon2

SHORTEST, LONGEST = 12, 1000
COST = argon2.profiles.RFC_9106_LOW_MEMORY


class Passwords:
    """Two at a time: each takes 64 MiB, and a flood of attempts must not take more."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(COST)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        # All zeros, which no password has; to find that out takes as long as for any other.
        cost = f"m={COST.memory_cost},t={COST.time_cost},p={COST.parallelism}"
        self._nobodys = f"$argon2id$v=19${cost}${'A' * 22}${'A' * 43}"

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. With None as slow as with a hash, and never true."""
        known = password_hash or self._nobodys
        right = await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, known, password)
        return right and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
            return False

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def problem(password: str) -> str | None:
    """Why ``password`` cannot be one; None when it can."""
    if len(password) < SHORTEST:
        return f"The password must have at least {SHORTEST} characters."
    if len(password) > LONGEST:
        return f"The password must have at most {LONGEST} characters."
    return None
