"""What an IDENTIFY is checked for, in Discord's order.

Each check is a row: what is wrong, what it is called in the ground truth, what the client is told. The first that
fails decides. Source: Discord, "Identifying"; docs/protocol.md, simulator checklist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from discord_simulator.application import Application
from discord_simulator.close_codes import CloseCode
from discord_simulator.intents import ALL, PRIVILEGED
from discord_simulator.settings import Settings


class Identify(msgspec.Struct):
    """``d`` of op 2, as far as it matters here; other keys are ignored, since libraries send stale shapes."""

    token: str
    intents: int | None = None
    shard: tuple[int, int] | None = None
    compress: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    close: CloseCode | None
    """None: op 9 with ``d`` false, and the connection stays."""
    overrun: bool = False
    """The daily budget was exceeded: every session is killed and the token reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    request: Identify
    application: Application
    settings: Settings
    guilds: int
    now: float

    @property
    def shard(self) -> tuple[int, int]:
        return self.request.shard or (0, 1)

    def wrong_token(self) -> bool:
        return not self.application.accepts(self.request.token)

    def wrong_shard(self) -> bool:
        shard, count = self.shard
        multiple = self.settings.shard_multiple
        return not 0 <= shard < count or (self.request.shard is not None and count % multiple != 0)

    def too_many_guilds(self) -> bool:
        return self.guilds > self.settings.max_guilds_per_session

    def unknown_intents(self) -> bool:
        return self.request.intents is None or self.request.intents < 0 or bool(self.request.intents & ~ALL)

    def disallowed_intents(self) -> bool:
        return bool((self.request.intents or 0) & PRIVILEGED & ~self.settings.privileged_intents)

    def bucket_taken(self) -> bool:
        if self.application.take_bucket(self.shard[0], self.now):
            return False
        if self.settings.refused_identifies_count:
            self.application.spend(self.now)
        return True

    def budget_spent(self) -> bool:
        return not self.application.spend(self.now)


_CHECKS: Final[tuple[tuple[Callable[[_Case], bool], Refusal], ...]] = (
    (_Case.wrong_token, Refusal("token", CloseCode.AUTHENTICATION_FAILED)),
    (_Case.wrong_shard, Refusal("shard", CloseCode.INVALID_SHARD)),
    (_Case.too_many_guilds, Refusal("shardingRequired", CloseCode.SHARDING_REQUIRED)),
    (_Case.unknown_intents, Refusal("intents", CloseCode.INVALID_INTENTS)),
    (_Case.disallowed_intents, Refusal("disallowedIntents", CloseCode.DISALLOWED_INTENTS)),
    (_Case.bucket_taken, Refusal("bucket", None)),
    (_Case.budget_spent, Refusal("budget", CloseCode.AUTHENTICATION_FAILED, overrun=True)),
)


def check_identify(
    request: Identify, *, application: Application, settings: Settings, guilds: int, now: float
) -> Refusal | None:
    """Check *request*, taking its bucket and a session start on the way; None if it is accepted.

    *guilds* is how many the session would have.
    """
    case = _Case(request=request, application=application, settings=settings, guilds=guilds, now=now)
    return next((refusal for failed, refusal in _CHECKS if failed(case)), None)
