"""In a worker that has this folder on its path: from the moment of the seal on, everything is the new side's."""

import sys

if "shard_runtime.worker" in sys.orig_argv:
    from collections.abc import Sequence

    from shard_runtime.handover.alignment import Arrived, Decision, Evidence
    from shard_runtime.handover.cutover import Cutover
    from shard_runtime.handover.streams import StreamAlignment

    class Flip(StreamAlignment):
        def __init__(self, evidence: Evidence) -> None:
            super().__init__(evidence)
            self._flips_at = evidence.sealed_at

        def feed(self, event: Arrived) -> list[Decision]:
            return [Decision.SKIP if event.arrival < self._flips_at else Decision.DELIVER]

        def feed_many(self, events: Sequence[Arrived]) -> list[Decision]:
            return [decision for event in events for decision in self.feed(event)]

    Cutover.__init__.__kwdefaults__["align"] = Flip
