"""What Discord last said of each gateway's application, read rarely and never in a hurry.

An answer is good for a minute; a failure is tried again with capped, jittered backoff, so that neither a dead API nor a
wrong token is hammered by a loop that wakes often.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Final

from gateway_operator.discord_api import DiscordApi, DiscordApiError, GatewayBot, Trouble, token_fingerprint
from gateway_operator.planning.observed import DiscordProblem, DiscordTrouble
from gateway_operator.planning.status import RESET_JITTER_MILLISECONDS
from gateway_operator.ports import Chance, Clock

log = logging.getLogger(__name__)

GOOD_FOR_SECONDS: Final = 60.0
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 30.0
LONGEST_REFUSED_BACKOFF_SECONDS: Final = 600.0
"""A token that is refused stays refused until a person acts; the Secret's change is seen without Discord."""
LEAST_INTERVAL_SECONDS: Final = 1.0

_TROUBLES: Final = {
    Trouble.UNREACHABLE: DiscordTrouble.UNREACHABLE,
    Trouble.TOKEN_REFUSED: DiscordTrouble.TOKEN_REFUSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The last good answer and the latest failure, if that is later."""

    application: str | None = None
    """Names the application; None while Discord has not said."""
    bot: GatewayBot | None = None
    read_at: int = 0
    """When the call of ``bot`` was begun, in unix milliseconds."""
    reset_at: int = 0
    """When the day of ``bot``'s limit starts anew, in unix milliseconds; the same for readings of the same day."""
    read_monotonic: float = 0.0
    """The same on the clock that never goes back."""
    problem: DiscordProblem | None = None


@dataclass(slots=True)
class _Source:
    fingerprint: str
    reading: Reading = field(default_factory=Reading)
    last_try: float = float("-inf")
    next_try: float = float("-inf")
    failures: int = 0


class DiscordReader:
    """Readings of all gateways of one operator, by namespace and name."""

    def __init__(self, *, api: DiscordApi, clock: Clock, chance: Chance) -> None:
        self._api = api
        self._clock = clock
        self._chance = chance
        self._sources: dict[tuple[str, str], _Source] = {}

    def forget(self, namespace: str, name: str) -> None:
        self._sources.pop((namespace, name), None)

    async def read(self, namespace: str, name: str, *, api_url: str, token: str, fresh: bool = False) -> Reading:
        """The present reading, renewed where it is due; *fresh* renews it now. Never raises."""
        key, fingerprint = (namespace, name), f"{api_url} {token_fingerprint(token)}"
        source = self._sources.get(key)
        if source is None or source.fingerprint != fingerprint:  # another token or API: nothing known holds for it
            source = self._sources[key] = _Source(fingerprint=fingerprint)
        now = self._clock.monotonic()
        due = now >= source.next_try or (fresh and now >= source.last_try + LEAST_INTERVAL_SECONDS)
        if due:
            source.last_try = now
            await self._renew(source, api_url, token, name)
        return source.reading

    async def _renew(self, source: _Source, api_url: str, token: str, name: str) -> None:
        before, begun, begun_at = source.reading, self._clock.monotonic(), int(self._clock.unix() * 1000)
        try:
            bot = await self._api.gateway_bot(api_url=api_url, token=token)
            application = before.application or await self._api.application(api_url=api_url, token=token)
        except DiscordApiError as error:
            source.failures += 1
            source.next_try = self._clock.monotonic() + self._backoff(source.failures, error)
            if before.problem is None or before.problem.message != str(error):
                log.warning("%s: %s", name, error)
            problem = DiscordProblem(kind=_TROUBLES[error.trouble], message=str(error))
            source.reading = replace(before, problem=problem)
            return
        source.failures = 0
        source.next_try = self._clock.monotonic() + GOOD_FOR_SECONDS
        reset_at = begun_at + bot.session_start_limit.reset_after
        if abs(reset_at - before.reset_at) <= RESET_JITTER_MILLISECONDS:
            # Discord says how long until then, so each reading differs by what it took to arrive.
            reset_at = before.reset_at
        source.reading = Reading(
            application=application, bot=bot, read_at=begun_at, reset_at=reset_at, read_monotonic=begun
        )

    def _backoff(self, failures: int, error: DiscordApiError) -> float:
        longest = LONGEST_REFUSED_BACKOFF_SECONDS if error.trouble is Trouble.TOKEN_REFUSED else LONGEST_BACKOFF_SECONDS
        backoff = min(longest, FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 12))
        return float(max(backoff * (0.5 + self._chance.random() / 2), error.retry_after_seconds))
