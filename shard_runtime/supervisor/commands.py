"""``POST /v1/commands``: carries a command to where :mod:`shard_runtime.commands` says, and answers for all its parts.

A command is held until it is sent, for some seconds at most, so the answer says what became of it; how many may be held
is bounded, since probes come over the same surface.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.admin.messages import Answer, answer, problem
from shard_runtime.commands import NoGenerationError, Split, UndecidedError, Whole, route
from shard_runtime.orders import CommandRefused, Done, Failed, PassedOn, PassOnCommand, SendCommand
from shard_runtime.protocol.commands import CommandError, Part
from shard_runtime.supervisor.pod import Pod
from shard_runtime.supervisor.workers import UnavailableError

MOST_HELD: Final = 128
"""Commands that a pod carries at the same time."""

SEND_SECONDS: Final = 15.0
"""Longer than a command waits at its shard."""
PASS_ON_SECONDS: Final = 25.0
"""Longer than the call to a sibling takes, shorter than an answer of the surface may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    status: int
    shards: list[int]
    """Those that took their part, or that the error is about."""
    error: str = ""
    retry_after: int | None = None
    """Seconds."""


class CommandDesk:
    """Takes commands for one pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._held = 0

    async def take(self, body: bytes) -> Answer:
        """Answer one call. Raises :class:`~shard_runtime.supervisor.workers.UnavailableError`."""
        try:
            request = contract.decode(body, contract.CommandRequest)
        except (msgspec.DecodeError, RecursionError) as error:
            return problem(400, f"The body is not a command: {error}.")
        if self._held >= MOST_HELD:
            return _refusal(429, f"This pod holds {MOST_HELD} commands already.", retry_after=1)
        self._held += 1
        try:
            return await self._carry(request)
        except CommandError as error:
            return problem(400, str(error))
        except NoGenerationError as error:
            return problem(409, str(error))
        except UndecidedError as error:
            raise UnavailableError(str(error)) from error
        finally:
            self._held -= 1

    async def _carry(self, request: contract.CommandRequest) -> Answer:
        pod = self._pod
        way = route(request, config=pod.config, pod=pod.index, role=pod.role, record=pod.record)
        request = msgspec.structs.replace(request, hops=request.hops + 1)
        if isinstance(way, Whole):
            passed = await self._pass_on(request, generation=way.generation, pod=way.pod)
            headers = {} if passed.retry_after is None else {"retry-after": passed.retry_after}
            return Answer(status=passed.status, body=passed.body.encode(), headers=headers)
        return _answer(await self._deliver(request, way))

    async def _deliver(self, request: contract.CommandRequest, way: Split) -> list[_Outcome]:
        calls: list[Awaitable[_Outcome]] = [self._send(part) for part in way.here]
        for pod, parts in way.elsewhere.items():
            calls += [self._send_to(pod, part, request) for part in parts]
        return list(await asyncio.gather(*calls))

    async def _send(self, part: Part) -> _Outcome:
        command = part.command
        order = SendCommand(
            shard=part.shard,
            op=command.op,
            payload=command.payload.decode(),
            all_members_of=command.all_members_of,
        )
        try:
            taken = await self._pod.ask(order, shard=part.shard, timeout=SEND_SECONDS)
        except UnavailableError as error:
            return _Outcome(status=503, shards=[part.shard], error=str(error), retry_after=1)
        if isinstance(taken, CommandRefused):
            seconds = taken.retry_after_seconds
            after = None if seconds is None else math.ceil(seconds)
            return _Outcome(status=taken.status, shards=[part.shard], error=taken.error, retry_after=after)
        assert isinstance(taken, Done), taken
        return _Outcome(status=202, shards=[part.shard])

    async def _send_to(self, pod: int, part: Part, request: contract.CommandRequest) -> _Outcome:
        """Let a sibling pod send *part*."""
        own = msgspec.json.decode(part.command.payload, type=contract.CommandRequest)
        own = msgspec.structs.replace(own, shard=part.shard, hops=request.hops)
        try:
            passed = await self._pass_on(own, generation=self._pod.config.generation, pod=pod)
        except UnavailableError as error:
            return _Outcome(status=503, shards=[part.shard], error=str(error), retry_after=1)
        if passed.status == 202:
            return _Outcome(status=202, shards=[part.shard])
        try:
            error_text = contract.decode(passed.body, contract.Problem).error
        except msgspec.DecodeError:
            error_text = f"Pod {pod} answered {passed.status}."
        after = int(passed.retry_after) if passed.retry_after and passed.retry_after.isdigit() else None
        return _Outcome(status=passed.status, shards=[part.shard], error=error_text, retry_after=after)

    async def _pass_on(self, request: contract.CommandRequest, *, generation: int, pod: int) -> PassedOn:
        order = PassOnCommand(generation=generation, pod=pod, request=request)
        passed = await self._pod.ask(order, shard=None, timeout=PASS_ON_SECONDS)
        if isinstance(passed, Failed):
            raise UnavailableError(passed.error)
        assert isinstance(passed, PassedOn), passed
        return passed


def _answer(outcomes: list[_Outcome]) -> Answer:
    """One answer for the outcomes of all parts."""
    failed = [outcome for outcome in outcomes if outcome.status != 202]
    took = sorted(shard for outcome in outcomes if outcome.status == 202 for shard in outcome.shards)
    if not failed:
        taken = contract.CommandTaken(shard=took[0], shards=took if len(took) > 1 else None)
        return answer(taken, status=202)
    worst = min(failed, key=lambda outcome: outcome.shards)
    sentence = worst.error
    if took:
        sentence = f"Shards {', '.join(map(str, took))} took their part, shard {worst.shards[0]} did not: {sentence}"
    waits = [outcome.retry_after for outcome in failed if outcome.retry_after is not None]
    return _refusal(worst.status, sentence, retry_after=max(waits, default=None))


def _refusal(status: int, sentence: str, *, retry_after: int | None) -> Answer:
    headers = {} if retry_after is None else {"retry-after": str(max(1, retry_after))}
    return problem(status, sentence, headers=headers)
