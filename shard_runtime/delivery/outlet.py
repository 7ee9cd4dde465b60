"""What the lanes of a worker share: how to send, whom to tell, and how to get what is on disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from shard_runtime import contract
from shard_runtime.delivery.dead_letters import DeadLetters
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.meter import DeliveryMeter
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.ports import Chance, Clock

if TYPE_CHECKING:
    from shard_runtime.delivery.lanes import Lane


class Outlet:
    def __init__(
        self,
        *,
        forward: contract.ForwardConfig,
        headers: Mapping[str, str],
        receiver: Receiver,
        ledger: Ledger,
        dead_letters: DeadLetters | None,
        clock: Clock,
        chance: Chance,
        log: Callable[..., None],
        settled: Callable[[], None],
        busy: Callable[[], None],
        fill: Callable[[Lane], Awaitable[None]],
        fill_soon: Callable[[Lane], None],
    ) -> None:
        self.forward = forward
        self.headers = headers
        self.receiver = receiver
        self.ledger = ledger
        self.dead_letters = dead_letters
        """None: a payload that is refused alone is tried until it is taken."""
        self.clock = clock
        self.chance = chance
        self.log = log
        self.settled = settled
        """Called when events left the queue."""
        self.busy = busy
        """Called when something is owed."""
        self.fill = fill
        """Reads from disk what comes next in a lane."""
        self.fill_soon = fill_soon
        """The same while a batch is in flight, so that the lane need not wait."""
        self.hurry = False
        """Whether somebody waits for the queue to be empty, so that no lane waits for company."""
        self.retried = 0
        self.requests = 0
        self.meter = DeliveryMeter()
