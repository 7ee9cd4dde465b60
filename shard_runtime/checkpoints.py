"""Sessions that outlive their pod: handed to the operator and two siblings at a graceful stop, asked back at a start.

A pod that is deleted loses its disk where it has no volume, and its sessions with it, although Discord would still
resume them. So what it takes to resume them is left with three others: any one of them is enough, and none of them is
waited for longer than a moment. Only a worker that finds nothing on its own disk asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from shard_runtime import contract
from shard_runtime.ports import Clock, Network, NetworkError
from shard_runtime.saved_sessions import saved_session, session_checkpoint
from shard_runtime.shard_ports import SavedSession
from shard_runtime.siblings import SiblingError, Siblings

CALL_SECONDS: Final = 2.0
SIBLINGS: Final = 2
MOST_NUMBERS: Final = 5000
"""Of sequences and keys of all sessions together: what a stop takes stays short."""
LONGEST_SESSIONS: Final = 240 << 10
"""Bytes of the sessions in one checkpoint: the operator reads 256 KiB. More of them go in several, which are merged."""


class Checkpoints:
    """A worker's part."""

    def __init__(
        self,
        *,
        config: contract.RuntimeConfig,
        pod: int,
        pod_uid: str,
        bearer: Callable[[], str],
        siblings: Siblings,
        network: Network,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._config = config
        self._pod = pod
        self._pod_uid = pod_uid
        self._bearer = bearer
        self._siblings = siblings
        self._network = network
        self._clock = clock
        self._log = log

    async def leave(self, sessions: Mapping[int, SavedSession]) -> None:
        """Hand *sessions* to others; never raises, and takes a moment at most."""
        if not sessions:
            return
        checkpoint = contract.Checkpoint(
            generation=self._config.generation,
            count=self._config.layout.count,
            pod=self._pod,
            pod_uid=self._pod_uid,
            made_at=self._clock.unix_milliseconds(),
            sessions=[],
        )
        left = [session_checkpoint(shard, session) for shard, session in _bounded(sessions).items()]
        bodies = [contract.encode(msgspec.structs.replace(checkpoint, sessions=part)) for part in _parts(left)]
        answers = await self._ask_all(lambda url: self._leave_with(f"{url}/v1/checkpoints", bodies))
        kept = sum(status == 204 for status, _ in answers)
        self._log.log(
            logging.INFO if kept else logging.WARNING, "%d others keep %d sessions of this worker.", kept, len(sessions)
        )

    async def _leave_with(self, url: str, bodies: Iterable[bytes]) -> tuple[int, bytes]:
        """The answer to all *bodies*: the first that is no 204, where there is one."""
        answers = await asyncio.gather(*(self._call("POST", url, body) for body in bodies))
        return next((answer for answer in answers if answer[0] != 204), (204, b""))

    async def recall(self, shards: Iterable[int]) -> dict[int, SavedSession]:
        """What others keep of *shards*, the latest of each; never raises, and takes a moment at most."""
        path = f"/v1/checkpoints/{self._config.generation}/{self._pod}"
        found: dict[int, tuple[int, SavedSession]] = {}
        for status, body in await self._ask_all(lambda url: self._call("GET", url + path, b"")):
            checkpoint = _decoded(body) if status == 200 else None
            if checkpoint is None or not self._is_ours(checkpoint):
                continue
            for session in checkpoint.sessions:
                if session.shard not in found or found[session.shard][0] < checkpoint.made_at:
                    found[session.shard] = checkpoint.made_at, saved_session(session)
        wanted = frozenset(shards)
        recalled = {shard: session for shard, (_, session) in sorted(found.items()) if shard in wanted}
        if recalled:
            self._log.info("%d sessions that an earlier pod left with others are resumed.", len(recalled))
        return recalled

    def _is_ours(self, checkpoint: contract.Checkpoint) -> bool:
        own = (self._config.generation, self._config.layout.count, self._pod)
        return (checkpoint.generation, checkpoint.count, checkpoint.pod) == own

    async def _ask_all(self, ask: Callable[[str], Coroutine[Any, Any, tuple[int, bytes]]]) -> list[tuple[int, bytes]]:
        """Status and body of each that answered; 0 for one that did not."""
        return await asyncio.gather(*(ask(url) for url in self._others()))

    def _others(self) -> list[str]:
        others = [self._config.operator_url.rstrip("/")]
        pods = self._config.layout.pods
        for step in range(1, min(SIBLINGS, pods - 1) + 1):
            try:
                others.append(self._siblings.base_url(self._config.generation, (self._pod + step) % pods))
            except SiblingError:
                continue
        return others

    async def _call(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self._bearer()}", "content-type": "application/json"}
        try:
            answer = await self._network.request(method, url, headers=headers, body=body, timeout=CALL_SECONDS)
        except NetworkError as error:
            self._log.debug("Checkpoints: %s", error)
            return 0, b""
        return answer.status, answer.body


def _bounded(sessions: Mapping[int, SavedSession]) -> dict[int, SavedSession]:
    """*sessions* with at most :data:`MOST_NUMBERS` numbers: what is not told of may be delivered again, unmarked."""
    left = MOST_NUMBERS
    bounded: dict[int, SavedSession] = {}
    for shard, session in sessions.items():
        finished = session.finished[: left // 2 * 2]
        unsure = session.unsure[: left - len(finished)]
        late = session.late[: left - len(finished) - len(unsure)]
        left -= len(finished) + len(unsure) + len(late)
        bounded[shard] = replace(session, finished=finished, unsure=unsure, late=late)
    return bounded


def _parts(sessions: Iterable[contract.SessionCheckpoint]) -> Iterator[list[contract.SessionCheckpoint]]:
    """*sessions*, as many together as a checkpoint may hold. One that is too long by what it has kept for its bot goes
    without it: to be resumed is worth more."""
    part: list[contract.SessionCheckpoint] = []
    room = LONGEST_SESSIONS
    for session in sessions:
        size = len(contract.encode(session)) + 1
        fits = size <= LONGEST_SESSIONS
        bounded = session if fits else msgspec.structs.replace(session, kept=contract.NOTHING_KEPT)
        size = size if fits else len(contract.encode(bounded)) + 1
        if size > room and part:
            yield part
            part, room = [], LONGEST_SESSIONS
        part.append(bounded)
        room -= size
    if part:
        yield part


def _decoded(body: bytes) -> contract.Checkpoint | None:
    try:
        return contract.decode(body, contract.Checkpoint)
    except msgspec.DecodeError:
        return None
