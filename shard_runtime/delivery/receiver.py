"""The receiver as all lanes of a worker see it: how it is asked, and whether it answers.

Lanes fail and recover separately, but a person wants one sentence. So there is one state: unreachable from
the first failed request until the next acknowledged one, and logged on those two occasions only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from shard_runtime import contract
from shard_runtime.delivery.answers import Outcome, Verdict, judge, public_url
from shard_runtime.delivery.batches import Batch
from shard_runtime.ports import Clock, Network, NetworkError
from shard_runtime.signatures import Signer


class Receiver:
    def __init__(
        self, *, forward: contract.ForwardConfig, network: Network, clock: Clock, log: Callable[..., None]
    ) -> None:
        self._forward = forward
        self._network = network
        self._clock = clock
        self._log = log
        self._changed = asyncio.Event()
        self.signer: Signer | None = None
        """Signs from the next request on; None: requests are not signed."""
        self.status = contract.ReceiverStatus()

    def reconfigure(self, forward: contract.ForwardConfig) -> None:
        """Use *forward* from the next request on; lanes that wait for a retry try at once if the URL or the
        certificate authorities are others."""
        moved = (forward.url, forward.ca_bundle) != (self._forward.url, self._forward.ca_bundle)
        self._forward = forward
        if moved:
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def post(self, batch: Batch) -> Verdict:
        """Send *batch* once and say what follows."""
        forward, headers = self._forward, batch.headers
        if self.signer is not None:
            seconds = self._clock.unix_milliseconds() // 1000
            headers = {**headers, **self.signer.headers(id=batch.id, seconds=seconds, body=batch.body)}
        try:
            response = await self._network.request(
                "POST",
                forward.url,
                headers=headers,
                body=batch.body,
                timeout=forward.timeout_seconds,
                authorities=forward.ca_bundle,
            )
        except NetworkError as error:
            verdict = Verdict(Outcome.RETRY, f"gave no answer: {error}")
        else:
            verdict = judge(response, now=self._clock.unix_milliseconds() / 1000)
        if verdict.outcome is Outcome.ACKNOWLEDGED:
            self._up(forward.url)
        else:
            self._down(forward.url, batch, verdict)
        return verdict

    async def pause(self, seconds: float) -> None:
        """Wait before a retry, but not beyond a change of where to or whom to trust."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _up(self, url: str) -> None:
        if not self.status.reachable:
            self.status = contract.ReceiverStatus()
            self._log(logging.INFO, f"Receiver {public_url(url)} acknowledges again.")

    def _down(self, url: str, batch: Batch, verdict: Verdict) -> None:
        # The same sentence for every batch: it stands in a condition, which changes only when the trouble does.
        problem = f"Receiver {public_url(url)} {verdict.problem}"
        if self.status.reachable:
            events = "1 event" if len(batch) == 1 else f"{len(batch)} events"
            self._log(logging.WARNING, f"{problem} (request of {events}); it is tried again.")
        self.status = contract.ReceiverStatus(reachable=False, problem=f"{problem}; it is tried again.")
