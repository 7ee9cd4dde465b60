"""Leave to IDENTIFY, asked of the operator's gate over HTTP.

Starting a session is rationed by Discord and overrunning the ration resets the bot's token, so a shard without a permit
waits, however long the operator is away. The other way round a lost report costs little: the gate counts a permit that
was never reported as spent after a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.backoff import Backoff
from shard_runtime.ports import Chance, Clock, Network, NetworkError, Response

REQUEST_SECONDS: Final = 5.0
REPORT_SECONDS: Final = 60.0
"""The gate counts an unreported permit as spent after this time; later reports change nothing."""
LONGEST_WAIT_SECONDS: Final = 60.0
"""A wait that the gate names is cut to this, so that a pod learns of a better one."""


class PermitClient:
    """The identify gate as a worker sees it. Safe to use by many shards at once."""

    def __init__(
        self,
        *,
        config: contract.RuntimeConfig,
        pod_uid: str,
        bearer: Callable[[], str],
        clock: Clock,
        chance: Chance,
        network: Network,
        log: logging.Logger,
    ) -> None:
        self._config = config
        self._pod_uid = pod_uid
        self._bearer = bearer
        self._clock = clock
        self._chance = chance
        self._network = network
        self._log = log
        self._problem: str | None = None
        self._wishes = 0
        self._reports: set[asyncio.Task[None]] = set()

    async def acquire(self, shard: int) -> contract.Permit:
        """Wait for a permit for *shard*, for ever if need be.

        The life of the answer is what is left of it, counted from when it was asked for.
        """
        request = contract.PermitRequest(
            namespace=self._config.namespace,
            gateway=self._config.gateway,
            generation=self._config.generation,
            shard=shard,
            pod_uid=self._pod_uid,
            wish=self._new_wish(),
        )
        unreachable = Backoff(first=0.5, cap=10.0, chance=self._chance)
        refused = Backoff(first=5.0, cap=60.0, chance=self._chance)
        while True:
            asked = self._clock.monotonic()
            request = msgspec.structs.replace(request, attempt=request.attempt + 1)
            try:
                response = await self._post("/v1/permits", contract.encode(request))
                answer = _read_answer(response)
            except NetworkError as error:
                self._note(f"The operator's identify gate cannot be reached: {error}.")
                await self._clock.sleep(unreachable.next())
                continue
            except _RefusedError as error:
                self._note(str(error))
                await self._clock.sleep((refused if error.lasting else unreachable).next())
                continue
            unreachable.reset()
            refused.reset()
            self._note(None)
            if isinstance(answer, contract.PermitWait):
                seconds = min(answer.retry_after_milliseconds / 1000, LONGEST_WAIT_SECONDS)
                await self._clock.sleep(max(seconds, 0.01) + self._chance.uniform(0.0, 0.1 * seconds + 0.02))
                continue
            left = answer.life_milliseconds - round((self._clock.monotonic() - asked) * 1000)
            if left > 0:
                return msgspec.structs.replace(answer, life_milliseconds=left)
            await self.report(answer, contract.PermitResult(outcome=contract.PermitOutcome.UNUSED))

    def _new_wish(self) -> str:
        """A name that no process of this pod has used."""
        self._wishes += 1
        return f"{self._clock.unix_milliseconds()}-{self._wishes}"

    async def report(self, permit: contract.Permit, result: contract.PermitResult) -> None:
        """Tell the gate what became of *permit*; goes on in the background and is given up after a minute."""
        task = asyncio.create_task(self._deliver(permit, result), name=f"permit-report-{permit.id}")
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def close(self, seconds: float) -> None:
        """Give reports that are under way *seconds* to arrive, then drop them."""
        if not self._reports:
            return
        _, late = await asyncio.wait(set(self._reports), timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _deliver(self, permit: contract.Permit, result: contract.PermitResult) -> None:
        began = self._clock.monotonic()
        backoff = Backoff(first=0.25, cap=5.0, chance=self._chance)
        while True:
            elapsed = self._clock.monotonic() - began
            current = _later(result, round(elapsed * 1000))
            try:
                response = await self._post(f"/v1/permits/{permit.id}/result", contract.encode(current))
                if response.status < 300:
                    return
                problem = f"answered {response.status}"
            except NetworkError as error:
                problem = str(error)
            delay = backoff.next()
            if self._clock.monotonic() - began + delay > REPORT_SECONDS:
                self._log.warning("The use of an identify permit could not be reported: %s.", problem)
                return
            await self._clock.sleep(delay)

    async def _post(self, path: str, body: bytes) -> Response:
        headers = {"authorization": f"Bearer {self._bearer()}", "content-type": "application/json"}
        url = self._config.operator_url.rstrip("/") + path
        return await self._network.request("POST", url, headers=headers, body=body, timeout=REQUEST_SECONDS)

    def _note(self, problem: str | None) -> None:
        """Log what stands in the way, once per change: every shard meets the same obstacle."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            self._log.info("The operator's identify gate answers again.")
        else:
            self._log.warning("%s Identifies wait.", problem)


def _later(result: contract.PermitResult, milliseconds: int) -> contract.PermitResult:
    """*result*, told *milliseconds* after it was."""
    sent, arrived = result.sent_milliseconds_ago, result.arrived_milliseconds_ago
    return msgspec.structs.replace(
        result,
        sent_milliseconds_ago=None if sent is None else sent + milliseconds,
        arrived_milliseconds_ago=None if arrived is None else arrived + milliseconds,
    )


class _RefusedError(Exception):
    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


def _read_answer(response: Response) -> contract.Permit | contract.PermitWait:
    try:
        if response.status == 200:
            return contract.decode(response.body, contract.Permit)
        if response.status == 429:
            return contract.decode(response.body, contract.PermitWait)
    except msgspec.DecodeError as error:
        raise _RefusedError(f"The operator's permit is not understood: {error}.", lasting=True) from error
    try:
        reason = contract.decode(response.body, contract.Problem).error
    except msgspec.DecodeError:
        reason = f"status {response.status}"
    # 401 and 409 last until a person or the operator changes something; 5xx is an operator that restarts
    raise _RefusedError(f"The operator refuses identify permits: {reason}", lasting=response.status < 500)
