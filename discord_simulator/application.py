"""The application: its token, its daily budget of session starts and its identify buckets.

All sessions of a token share one budget and the same buckets, whatever their shard counts. Running out of budget is a
catastrophe at Discord and so it is here: every session is killed and the token is reset. Source: Discord, "Session
Start Limit Object" and "Sharding"; docs/protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from discord_simulator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    total: int
    remaining: int
    reset_after_milliseconds: int
    max_concurrency: int


class Application:
    def __init__(self, *, settings: Settings) -> None:
        self.token = settings.token
        self.id = settings.application_id
        self.max_concurrency = settings.max_concurrency
        self._total = settings.identify_total
        self._remaining = settings.identify_total
        self._window_seconds = settings.identify_window_seconds
        self._window_started: float | None = None
        self._bucket_seconds = settings.bucket_seconds
        self._bucket_taken_at: dict[int, float] = {}

    def accepts(self, token: str) -> bool:
        return token.removeprefix("Bot ") == self.token

    def reset_token(self, random: Random) -> None:
        """Make every client's token wrong."""
        self.token = f"reset.{random.randrange(1 << 64):016x}"

    def budget(self, now: float) -> Budget:
        """What is left at *now*; the window opens with the first start it counts."""
        self._roll(now)
        reset_after = 0.0 if self._window_started is None else self._window_started + self._window_seconds - now
        return Budget(
            total=self._total,
            remaining=self._remaining,
            reset_after_milliseconds=max(0, round(reset_after * 1000)),
            max_concurrency=self.max_concurrency,
        )

    def set_remaining(self, remaining: int, now: float) -> None:
        self._roll(now)
        self._window_started = self._window_started or now
        self._remaining = remaining

    def spend(self, now: float) -> bool:
        """Take one session start; False if none was left."""
        self._roll(now)
        if self._remaining <= 0:
            return False
        if self._window_started is None:
            self._window_started = now
        self._remaining -= 1
        return True

    def take_bucket(self, shard: int, now: float) -> bool:
        """Take the shard's bucket for the next seconds; False if it was taken already."""
        bucket = shard % self.max_concurrency
        taken = self._bucket_taken_at.get(bucket)
        if taken is not None and now - taken < self._bucket_seconds:
            return False
        self._bucket_taken_at[bucket] = now
        return True

    def _roll(self, now: float) -> None:
        if self._window_started is not None and now - self._window_started >= self._window_seconds:
            self._window_started = None
            self._remaining = self._total
