"""CPU time that a handover takes, by part, in one worker of either side, without a network.

Run with ``python benchmarks/handover_cost.py``. Two seconds of traffic more or less do not matter to what is counted
per event; the parts at the seal are what a guild's delivery pauses for, besides the network.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from shard_runtime.contract import HandoverReply, HandoverRequest, ShardLayout, decode, encode
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.holding import held
from shard_runtime.handover.keys import place_of
from shard_runtime.handover.window import Window

RATE = 2_500
"""Events per second of one worker; half of 5,000."""
SECONDS = 13
GUILDS = 2_000
LAG = 120
"""Most milliseconds by which either side gets an event late."""


@contextmanager
def cpu(what: str, events: int) -> Iterator[None]:
    before = time.process_time()
    yield
    took = time.process_time() - before
    print(f"{what:<44} {took * 1000:>8.1f} ms  {took / events * 1e6:>7.2f} µs/event")


def traffic() -> list[tuple[int, str, bytes]]:
    """(milliseconds, name, payload) in order; guilds are unequally active, a third of the bodies repeat."""
    chance = random.Random(1)
    weights = list(accumulate(chance.lognormvariate(0, 2) for _ in range(GUILDS)))
    guilds = chance.choices([(number + 1) << 22 for number in range(GUILDS)], cum_weights=weights, k=RATE * SECONDS)
    made = []
    for number, guild in enumerate(guilds):
        if chance.random() < 0.3:
            name, d = "WEBHOOKS_UPDATE", f'{{"guild_id":"{guild}","channel_id":"{guild + 1}"}}'
        else:
            name = "MESSAGE_CREATE"
            d = f'{{"id":"{10**18 + number}","guild_id":"{guild}","channel_id":"{guild + 1}","content":"{"x" * 300}"}}'
        made.append((number * 1000 // RATE, name, f'{{"t":"{name}","s":{number + 1},"op":0,"d":{d}}}'.encode()))
    return made


def main() -> None:
    events = traffic()
    chance = random.Random(2)
    start = 1_700_000_000_000
    count = len(events)
    seal_at = start + (SECONDS - 1) * 1000
    old, late = [], 0
    for at, name, payload in events:
        late = max(late, start + at + chance.randrange(LAG))
        if late < seal_at:
            old.append((late, name, payload))
    window = Window(since=start, overlap_seconds=60)
    with cpu("record on the old side", len(old)):
        for at, name, payload in old:
            window.record(place_of(name, payload, shard=0, count=1), name, payload, at)
    cutover = Cutover(count=1, shards=[0], predecessor=ShardLayout(count=1, first=0, last=0), overlap_seconds=60)
    cutover.begins(0, start - 1000)
    late = 0
    with cpu("hold on the new side", count):
        for number, (at, name, payload) in enumerate(events):
            late = max(late, start + at + chance.randrange(LAG))
            cutover.offer(
                held(shard=0, count=1, session="s", sequence=number + 1, name=name, payload=payload, arrival=late)
            )
    cutover.commit(seal_at)
    request = HandoverRequest(generation=2, count=1, shards=[0])
    with cpu("export", len(old)):
        windows = window.export(request)
    reply = HandoverReply(
        generation=1, pod_uid="", sealed_at=seal_at, recorded_since=start, windows=windows, unacknowledged=[]
    )
    with cpu("encode the answer", len(old)):
        data = encode(reply)
    print(f"{'':<44} {len(data) / 1e6:>8.1f} MB")
    with cpu("decode it", len(old)):
        reply = decode(data, HandoverReply)
    with cpu("measure", count):
        known = cutover.known(0, reply, late)
    with cpu("align and release", count):
        step = cutover.sealed(0, reply, late, known=known)
    skipped, delivered = len(step.skip), len(step.deliver)
    print(
        f"of {count} events {skipped} are skipped, {delivered} delivered, {count - skipped - delivered} wait for more"
    )


if __name__ == "__main__":
    main()
