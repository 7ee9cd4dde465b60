"""Tells the operator that it had better look: what a person should hear of at once, and no watch of Kubernetes shows.

The operator looks at a gateway at rest twice a minute. A worker whose receiver fails, whose session Discord ended for
good, or whose shards are not READY for some time, says so, and nothing more: what it is stands in the pod's status. A
notice that is lost costs half a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shard_runtime import contract
from shard_runtime.backoff import Backoff
from shard_runtime.orders import WorkerStatus
from shard_runtime.ports import Chance, Clock, Network, NetworkError

LOOK_SECONDS: Final = 1.0
UNREADY_SECONDS: Final = 5.0
"""Sessions that are resumed within this time are no news."""
LEAST_INTERVAL_SECONDS: Final = 3.0
REQUEST_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is worth a notice when it changes."""

    receiver_reachable: bool
    stopped: frozenset[tuple[int, int | None]]
    """Shards that were ended for good, with the close code."""
    ready: bool
    disk_works: bool


def standing(status: WorkerStatus, *, ready: bool) -> Standing:
    """The standing that *status* shows; *ready* is whether shards count as READY."""
    ended = [shard for shard in status.shards if shard.state is contract.ShardState.STOPPED]
    return Standing(
        receiver_reachable=status.receiver.reachable,
        stopped=frozenset((shard.id, shard.close_code) for shard in ended),
        ready=ready,
        disk_works=status.disk_problem is None,
    )


class Notices:
    """The loop of one worker."""

    def __init__(
        self,
        *,
        config: contract.RuntimeConfig,
        pod: int,
        bearer: Callable[[], str],
        status: Callable[[], WorkerStatus],
        clock: Clock,
        chance: Chance,
        network: Network,
        log: logging.Logger,
    ) -> None:
        self._notice = contract.Notice(generation=config.generation, pod=pod)
        self._url = config.operator_url.rstrip("/") + "/v1/notices"
        self._bearer = bearer
        self._status = status
        self._clock = clock
        self._network = network
        self._log = log
        self._backoff = Backoff(first=LEAST_INTERVAL_SECONDS, cap=30.0, chance=chance)
        self._ready_at = float("-inf")
        self._told: Standing | None = None
        self._seen: Standing | None = None

    async def run(self) -> None:
        """Look, and tell of what has changed and stayed so for two looks; for ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            now = self._look()
            stays, self._seen = now == self._seen, now
            if self._told is None:
                self._told = now  # the operator looks at a pod that starts anyway
            if stays and now != self._told:
                await self._clock.sleep(await self._tell(now))

    def _look(self) -> Standing:
        status, now = self._status(), self._clock.monotonic()
        if all(shard.state is contract.ShardState.READY for shard in status.shards):
            self._ready_at = now
        return standing(status, ready=now - self._ready_at < UNREADY_SECONDS)

    async def _tell(self, now: Standing) -> float:
        """Post the notice; returns for how long to be quiet then."""
        headers = {"authorization": f"Bearer {self._bearer()}", "content-type": "application/json"}
        body = contract.encode(self._notice)
        try:
            answer = await self._network.request("POST", self._url, headers=headers, body=body, timeout=REQUEST_SECONDS)
        except NetworkError as error:
            self._log.debug("The operator does not take a notice: %s.", error)
            return self._backoff.next()
        if answer.status >= 500:
            return self._backoff.next()
        self._told = now  # also where an operator of an earlier version does not know what a notice is
        self._backoff.reset()
        return LEAST_INTERVAL_SECONDS
