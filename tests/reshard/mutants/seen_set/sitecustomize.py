"""In a worker that has this folder on its path: an event whose key was seen is taken for a duplicate."""

import sys

if "shard_runtime.worker" in sys.orig_argv:
    from collections.abc import Sequence

    from shard_runtime.handover.alignment import Arrived, Decision, Evidence
    from shard_runtime.handover.cutover import Cutover
    from shard_runtime.handover.streams import StreamAlignment

    class SeenSet(StreamAlignment):
        def __init__(self, evidence: Evidence) -> None:
            super().__init__(evidence)
            self._seen = {event.key for event in evidence.events}

        def feed(self, event: Arrived) -> list[Decision]:
            return [Decision.SKIP if event.key in self._seen else Decision.DELIVER]

        def feed_many(self, events: Sequence[Arrived]) -> list[Decision]:
            return [decision for event in events for decision in self.feed(event)]

    Cutover.__init__.__kwdefaults__["align"] = SeenSet
