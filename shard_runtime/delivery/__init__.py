"""From a session's dispatch to the receiver's acknowledgement: queue, lanes, batches, watermarks.

Knows the world only through the ports, so it runs on virtual time as it does on a real clock.
"""

from shard_runtime.delivery.batches import Origin
from shard_runtime.delivery.dead_letters import DeadLetters, DiskDeadLetters
from shard_runtime.delivery.forwarding import Delivery

__all__ = ["DeadLetters", "Delivery", "DiskDeadLetters", "Origin"]
