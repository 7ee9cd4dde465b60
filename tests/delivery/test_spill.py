"""What the queue promises beyond the process: a kill loses nothing, order and bounds hold, every drop is counted."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import wraps
from logging import getLogger
from pathlib import Path
from typing import Any

import pytest

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.delivery.stored import decode_summary
from shard_runtime.hooked.payloads import PayloadEvent
from shard_runtime.ports import NetworkError, Response, SpilledGroup, SpillError, SpillTransaction
from tests.delivery.receiver import Bench, Request, acknowledge, forward, payload, status
from tests.virtual.disk import VirtualDisk
from tests.virtual.loop import run_virtual
from tests.virtual.spill import COMMIT_SECONDS

STORE = Path("/state/spill.sqlite")


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_virtual(test())

    del run.__wrapped__  # pytest would take the test for a coroutine
    return run


async def away(_: Request) -> Response:
    await asyncio.sleep(0.001)
    return status(503)


def spilling(config: contract.ForwardConfig | None = None, disk: VirtualDisk | None = None, **more: Any) -> Bench:
    bench = Bench(config or forward(lanes=2), disk=disk or VirtualDisk(), **more)
    bench.receiver.answer = away
    return bench


async def accept_a_backlog(bench: Bench) -> None:
    """More of one session than stays in memory, at a thousand a second."""
    for number in range(1, 20_001):
        bench.accept()
        if number % 50 == 0:
            await asyncio.sleep(0.05)


def on_disk(bench: Bench) -> int:
    assert bench.disk is not None
    return bench.delivery.stored


async def reborn(bench: Bench, config: contract.ForwardConfig | None = None) -> Bench:
    """The next process on the same disk, whose receiver acknowledges; nothing is resumed."""
    await bench.kill()
    later = Bench(config or bench.forward, disk=bench.disk)
    later.start()
    return later


@virtual
async def test_an_event_that_is_not_acknowledged_within_a_second_is_on_disk() -> None:
    bench = spilling()
    bench.start()
    for shard in (0, 1, 0):
        bench.accept(shard)
    await asyncio.sleep(0.9)
    assert (bench.delivery.stored, bench.watermark(0)) == (0, 0)
    await asyncio.sleep(0.2)
    assert (bench.delivery.stored, bench.watermark(0), bench.watermark(1)) == (3, 2, 1)
    assert (bench.delivery.delivered("session-0"), bench.delivery.delivered("session-1")) == (0, 0)
    assert bench.delivery.queued == 3
    later = await reborn(bench)
    later.delivery.resume_session("session-0", 0)
    later.delivery.resume_session("session-1", 0)
    assert (later.watermark(0), later.watermark(1)) == (2, 1), "what is on disk needs no replay"
    assert later.delivery.queued == 3
    assert await later.delivery.drain(5)
    assert sorted(later.receiver.received()) == [("session-0", 1), ("session-0", 2), ("session-1", 1)]
    assert later.delivery.delivered("session-0") == 2


@virtual
async def test_a_guild_that_is_no_id_is_written_as_none() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    bench.accept()
    bench.delivery.accept(0, "session-0", 2, "MESSAGE_CREATE", payload(2, guild=10**20 - 1))
    await asyncio.sleep(2)
    assert on_disk(bench) == 2


@virtual
async def test_an_event_that_cannot_be_packed_is_not_on_disk_and_holds_nothing_up() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    bench.accept()
    bench.sequences["session-0"] = 1 << 64
    unpackable = bench.accept()
    await asyncio.sleep(3)
    assert on_disk(bench) == 0
    bench.accept()
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert [sequence for _, sequence in bench.receiver.received()] == [1, unpackable, unpackable + 1]


@virtual
async def test_what_is_saved_while_a_transaction_is_under_way_is_found_as_one_with_it() -> None:
    bench = spilling(forward(lanes=2, ordering="guild"))
    guilds = 1, 16 << 22 | 1  # of one shard, in two lanes
    bench.start()
    bench.accept(guild=guilds[0])
    await asyncio.sleep(0.9)
    bench.accept(guild=guilds[1])
    for _ in range(1000):
        if any(lane.writing for lanes in bench.delivery._sets for lane in lanes):
            break
        await asyncio.sleep(COMMIT_SECONDS / 4)
    else:
        pytest.fail("nothing is written")
    await bench.delivery.save()
    assert (on_disk(bench), bench.watermark()) == (2, 2)
    later = await reborn(bench)
    later.delivery.resume_session("session-0", 0)
    assert later.watermark() == 2
    for sequence, guild in enumerate(guilds, 1):  # what Discord would bring again
        later.delivery.accept(0, "session-0", sequence, "MESSAGE_CREATE", payload(sequence, guild=guild), guild=guild)
    assert await later.delivery.drain(5)
    assert sorted(later.receiver.received()) == [("session-0", 1), ("session-0", 2)]


@virtual
async def test_what_lies_deep_is_on_disk_at_once() -> None:
    bench = spilling(replay=400)
    bench.start()
    for _ in range(100):
        bench.accept()
    await asyncio.sleep(0.2)
    assert bench.delivery.stored == 0, "a quarter of the replay buffer may wait"
    bench.accept()
    await asyncio.sleep(0.1)
    assert bench.delivery.stored == 101


@virtual
async def test_a_receiver_that_keeps_up_costs_no_disk() -> None:
    bench = spilling()
    bench.receiver.answer = acknowledge
    bench.start()
    for _ in range(200):
        bench.accept(0)
        bench.accept(1)
        await asyncio.sleep(0.02)
    assert bench.disk is not None
    assert bench.disk.spills[STORE].durable_commits == 0
    assert bench.delivery.counters["spilled"] == 0


@virtual
async def test_a_spilled_lane_follows_the_disk_until_it_is_drained() -> None:
    bench = spilling(forward(lanes=1, max_batch_events=16))
    bench.start()
    for _ in range(3000):
        bench.accept()
        await asyncio.sleep(0.002)
    assert bench.delivery.stored > 2000
    bench.receiver.answer = acknowledge
    for _ in range(500):
        bench.accept()
        await asyncio.sleep(0.002)
    assert await bench.delivery.drain(60)
    assert bench.receiver.received() == [("session-0", sequence) for sequence in range(1, 3501)]
    assert (bench.watermark(), bench.delivery.delivered("session-0")) == (3500, 3500)
    spilled = bench.delivery.counters["spilled"]
    await asyncio.sleep(1)
    bench.accept()
    assert await bench.delivery.drain(1)
    assert bench.delivery.counters["spilled"] == spilled, "drained, it is in memory again"
    assert bench.disk is not None
    file = bench.disk.spills[STORE]
    assert not file.groups, "what is acknowledged leaves the disk"
    assert [name for name in file.notes if name.startswith("session:")] == []


@virtual
async def test_ten_minutes_without_the_receiver_lose_nothing_and_take_no_memory() -> None:
    bench = spilling(forward(lanes=4))
    bench.start()
    largest = 0
    for turn in range(6000):  # 200 events per second for ten minutes
        for step in range(20):
            bench.accept((turn + step) % 16)
        await asyncio.sleep(0.1)
        largest = max(largest, bench.delivery.memory)
    assert bench.delivery.queued == 120_000
    assert bench.delivery.stored > 119_000
    assert largest < 10 << 20, "four lanes keep two megabytes each, and what is just being written"
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert bench.delivery.counters["dropped"] == 0
    for shard in range(16):
        order = [sequence for session, sequence in bench.receiver.received() if session == f"session-{shard}"]
        assert order == list(range(1, 7501))


@virtual
async def test_a_graceful_stop_writes_what_is_not_delivered() -> None:
    bench = spilling()
    bench.start()
    for _ in range(10):
        bench.accept()
    await bench.delivery.save()
    assert bench.delivery.stored == 10
    later = await reborn(bench)
    assert await later.delivery.drain(5)
    assert later.receiver.received() == [("session-0", sequence) for sequence in range(1, 11)]


@virtual
async def test_what_is_acknowledged_from_disk_does_not_come_again_after_a_restart() -> None:
    bench = spilling(forward(lanes=1, format="single"))
    bench.start()
    for _ in range(30):
        bench.accept()
    await asyncio.sleep(3)
    assert bench.delivery.stored == 30
    taken = 0

    async def takes_ten(request: Request) -> Response:
        nonlocal taken
        taken += 1
        return await (acknowledge if taken <= 10 else away)(request)

    bench.receiver.answer = takes_ten
    await asyncio.sleep(6)
    later = await reborn(bench)
    later.delivery.resume_session("session-0", 0)
    assert await later.delivery.drain(5)
    sequences = [int(request.body.partition(b'"s":')[2].partition(b",")[0]) for request in later.receiver.requests]
    assert sequences == list(range(11, 31)), "a group that is half delivered is not delivered whole again"


@virtual
async def test_a_resume_brings_again_what_is_known_to_be_done_and_it_is_not_delivered_again() -> None:
    """Lanes of one session finish out of order: above the watermark there is what is acknowledged."""
    bench = spilling(forward(lanes=3, ordering="guild"))
    stuck, slow, well = (guild * 16 << 22 for guild in (1, 2, 3))

    async def by_guild(request: Request) -> Response:
        guilds = {int(entry["payload"]["d"]["guild_id"]) for entry in request.entries}
        if slow in guilds:
            await asyncio.sleep(9)
        return await (acknowledge if guilds == {well} else away)(request)

    bench.receiver.answer = by_guild
    bench.start()
    bench.accept(guild=stuck)
    await asyncio.sleep(0.5)
    bench.accept(guild=slow)
    for _ in range(5):
        bench.accept(guild=well)
    await asyncio.sleep(0.7)
    assert bench.delivery.stored == 1, "the first is on disk, the second not yet"
    assert bench.watermark() == 1
    later = await reborn(bench)
    later.delivery.resume_session("session-0", 0)
    assert later.watermark() == 1
    for sequence in range(2, 8):
        guild = slow if sequence == 2 else well
        later.delivery.accept(0, "session-0", sequence, "X", payload(sequence, "X", guild), guild=guild)
    assert await later.delivery.drain(5)
    assert sorted(later.receiver.received()) == [("session-0", 1), ("session-0", 2)]
    assert later.delivery.counters["known"] == 5
    assert later.watermark() == 7
    later.delivery.accept(0, "session-0", 8, "X", payload(8))
    assert await later.delivery.drain(5)
    assert later.watermark() == 8


async def with_a_gap(**more: Any) -> Bench:
    """The next process after one that left 1 and 4 of a session on disk and did not finish 2 and 3; receiver away."""
    bench = spilling(forward(lanes=2, ordering="guild"))
    guilds = 1, 16 << 22 | 1  # of one shard, in two lanes
    bench.start()
    bench.accept(guild=guilds[0])
    await asyncio.sleep(0.9)
    bench.sequences["session-0"] = 3
    bench.accept(guild=guilds[1])
    await bench.delivery.save()
    assert (bench.watermark(), on_disk(bench)) == (1, 2)
    await bench.kill()
    later = spilling(bench.forward, bench.disk, **more)
    later.delivery.resume_session("session-0", 0)
    later.start()
    assert (later.watermark(), later.delivery.delivered("session-0")) == (1, 0)
    return later


@pytest.mark.parametrize("way", ["skip", "skip_range", "drop"])
def test_what_is_passed_over_of_a_resume_is_still_owed_where_it_is_on_disk(way: str) -> None:
    async def story() -> None:
        later = await with_a_gap()
        delivery = later.delivery
        if way == "skip_range":
            delivery.skip_range("session-0", 1, 4)
        else:
            for sequence in range(1, 5):
                if way == "skip":
                    delivery.skip("session-0", sequence)
                else:
                    delivery.drop("session-0", sequence, "X", "held too many")
        assert delivery.delivered("session-0") == 0, "another place would have to resume before the first"
        assert delivery.delivered_above("session-0") == [2, 3]
        assert later.watermark() == 4
        assert delivery.counters["dropped"] == (2 if way == "drop" else 0)
        later.receiver.answer = acknowledge
        assert await delivery.drain(5)
        assert sorted(later.receiver.received()) == [("session-0", 1), ("session-0", 4)]
        assert delivery.delivered("session-0") == 4

    run_virtual(story())


@virtual
async def test_a_hook_is_not_asked_again_of_what_an_earlier_life_left_on_disk() -> None:
    asked: list[int] = []

    async def handle_payload(context: object, default: object, event: PayloadEvent) -> None:
        asked.append(event.sequence)  # and passes none on

    hooks = Hooks({"handle_payload": handle_payload}, context=None, log=getLogger("hook"), monotonic=lambda: 0.0)
    later = await with_a_gap(hooks=hooks)
    for sequence in range(2, 6):
        later.delivery.accept(0, "session-0", sequence, "X", payload(sequence))
    await asyncio.sleep(0.1)
    assert asked == [2, 3, 5]
    assert later.delivery.delivered("session-0") == 0, "another place would have to resume before the first"
    assert later.delivery.delivered_above("session-0") == [2, 3, 5, 5]
    assert (later.delivery.counters["known"], later.delivery.counters["excluded"]) == (1, 3)
    later.receiver.answer = acknowledge
    assert await later.delivery.drain(5)
    assert sorted(later.receiver.received()) == [("session-0", 1), ("session-0", 4)]
    assert later.watermark() == 5


@virtual
async def test_what_came_before_a_change_of_the_lanes_is_on_disk_no_later_than_what_came_after() -> None:
    """Or a resume would bring it behind what is there already."""
    bench = spilling(forward(lanes=2))
    bench.start()
    bench.accept(0)
    await asyncio.sleep(0.01)
    bench.delivery.reconfigure(forward(lanes=1))
    bench.accept(0)
    for _ in range(26):
        bench.accept(1)
    await asyncio.sleep(0.1)
    assert bench.delivery.stored, "the lane of both is deep with shard 1's"
    later = await reborn(bench, forward(lanes=1))
    for session in ("session-0", "session-1"):
        later.delivery.resume_session(session, 0)
    watermark = later.watermark(0)
    assert watermark is not None
    for sequence in range(watermark + 1, 3):
        later.delivery.accept(0, "session-0", sequence, "X", payload(sequence))
    assert await later.delivery.drain(5)
    received = [sequence for session, sequence in later.receiver.received() if session == "session-0"]
    assert received == [1, 2]


# --- Restarts at any moment -----------------------------------------------------------------------------------------


@dataclass
class Discord:
    """Sessions that outlive the process: a resume brings everything after the watermark again."""

    sent: dict[int, int] = field(default_factory=dict)
    ordering: str = "shard"

    def send(self, bench: Bench, shard: int) -> None:
        sequence = self.sent[shard] = self.sent.get(shard, 0) + 1
        self.accept(bench, shard, sequence)

    def accept(self, bench: Bench, shard: int, sequence: int) -> None:
        guild = (sequence % 5) << 22
        bench.delivery.accept(shard, f"session-{shard}", sequence, "X", payload(sequence, "X", guild or 0), guild=guild)

    def resume(self, bench: Bench, saved: dict[int, int]) -> None:
        for shard, last in self.sent.items():
            session = f"session-{shard}"
            bench.delivery.resume_session(session, saved.get(shard, 0))
            watermark = bench.delivery.watermark(session)
            assert watermark is not None and watermark <= last
            for sequence in range(watermark + 1, last + 1):
                self.accept(bench, shard, sequence)


@dataclass
class Moody:
    """A receiver that is away for a while, then takes everything, then loses answers."""

    chance: random.Random
    committed: list[tuple[str, int]] = field(default_factory=list)
    mood: str = "away"
    recorded: dict[str, int] = field(default_factory=dict)
    """Up to where, by session, this life of the process found it recorded that everything is acknowledged."""

    async def __call__(self, request: Request) -> Response:
        again = [
            (entry["session"], entry["payload"]["s"])
            for entry in request.entries
            if entry["payload"]["s"] <= self.recorded.get(entry["session"], 0)
        ]
        assert not again, f"recorded as acknowledged before the restart: {again[:5]}"
        await asyncio.sleep(self.chance.expovariate(100))
        if self.mood == "away" or (self.mood == "moody" and self.chance.random() < 0.3):
            return status(503)
        self.committed.extend((entry["session"], entry["payload"]["s"]) for entry in request.entries)
        if self.mood == "moody" and self.chance.random() < 0.3:
            raise NetworkError("the answer was lost")
        return status(200)


@pytest.mark.parametrize("ordering", ["shard", "guild"])
@pytest.mark.parametrize("seed", range(15))
def test_kills_at_any_moment_lose_nothing_and_keep_the_order(seed: int, ordering: str) -> None:
    run_virtual(_kills(seed, ordering))


async def _kills(seed: int, ordering: str) -> None:
    chance = random.Random(f"{seed}/{ordering}")
    discord, receiver, disk = Discord(), Moody(chance), VirtualDisk()
    saved: dict[int, int] = {}
    shards = chance.choice([1, 3, 8])

    def born() -> Bench:
        lanes = chance.choice([1, 2, 4]) if chance.random() < 0.3 else 2
        kind = ordering if chance.random() < 0.8 else "shard"
        config = forward(lanes=lanes, ordering=kind, max_batch_events=chance.choice([5, 256]))
        bench = Bench(config, seed, disk=disk, replay=chance.choice([100, 3500]))
        bench.receiver.answer = receiver
        receiver.recorded = {f"session-{shard}": sequence for shard, sequence in saved.items()}
        discord.resume(bench, saved)
        bench.start()
        return bench

    def save(bench: Bench) -> None:
        """The worker does this a few times a second, and at each session's beginning."""
        for shard in discord.sent:
            saved[shard] = bench.delivery.delivered(f"session-{shard}") or saved.get(shard, 0)

    bench = born()
    for shard in range(shards):
        bench.delivery.session_started(f"session-{shard}", 1)
        discord.sent[shard] = 0
    for _ in range(chance.randint(3, 8)):
        receiver.mood = chance.choice(["away", "moody", "well"])
        rate = chance.choice([20, 400])
        for _ in range(chance.randint(10, 400)):
            discord.send(bench, chance.randrange(shards))
            await asyncio.sleep(chance.expovariate(rate))
            if chance.random() < 0.2:
                save(bench)
            if chance.random() < 0.005:
                bench.delivery.reconfigure(forward(lanes=chance.randint(1, 3), ordering=bench.forward.ordering))
        if chance.random() < 0.2:
            await bench.delivery.save()
        for shard in discord.sent:
            delivered = bench.delivery.delivered(f"session-{shard}")
            assert delivered is not None
            below = {(f"session-{shard}", sequence) for sequence in range(1, delivered + 1)}
            assert below <= set(receiver.committed), "delivered says nothing that is not true"
        await bench.kill()
        if chance.random() < 0.3:
            disk.power_cut()
        bench = born()
    receiver.mood = "well"
    assert await bench.delivery.drain(120)
    expected = {
        (f"session-{shard}", sequence) for shard, last in discord.sent.items() for sequence in range(1, last + 1)
    }
    assert set(receiver.committed) == expected
    for shard, last in discord.sent.items():
        order = list(dict.fromkeys(seq for owner, seq in receiver.committed if owner == f"session-{shard}"))
        if ordering == "shard":
            assert order == list(range(1, last + 1))
        for guild in range(5):
            own = [sequence for sequence in order if sequence % 5 == guild]
            assert own == sorted(own), "a guild's events keep their order"
        assert bench.watermark(shard) == last
    await asyncio.sleep(1)
    assert not disk.spills[STORE].groups
    assert bench.delivery.counters["dropped"] == 0
    await bench.stop()


# --- Bounds ---------------------------------------------------------------------------------------------------------


@virtual
async def test_the_oldest_is_dropped_from_disk_and_counted_by_name() -> None:
    bench = spilling(forward(lanes=2, queue={"max_events": 5000}, max_batch_events=50))
    bench.start()
    for turn in range(20_000):
        bench.accept(turn % 2, name="TYPING_START" if turn < 10_000 else "MESSAGE_CREATE")
        if turn % 20 == 0:
            await asyncio.sleep(0.05)
        assert bench.delivery.queued < 5000 + 200, "what one look at the disk lags behind"
    await asyncio.sleep(1)
    assert bench.delivery.queued == 5000
    in_flight = {(entry["session"], entry["payload"]["s"]) for entry in bench.receiver.requests[-1].entries}
    dropped = bench.delivery.dropped
    assert sum(dropped.values()) == 15_000
    assert set(dropped) == {("TYPING_START", "queue full"), ("MESSAGE_CREATE", "queue full")}
    assert dropped["TYPING_START", "queue full"] >= 10_000 - 2 * 50
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    received = bench.receiver.received()
    assert len(received) == 5000
    assert in_flight <= set(received)
    assert (bench.watermark(0), bench.watermark(1)) == (10_000, 10_000)
    assert bench.delivery.counters["accepted"] == 20_000


@virtual
async def test_the_newest_is_dropped_where_the_backlog_is_wanted() -> None:
    bench = spilling(forward(lanes=1, queue={"max_events": 1000, "overflow": "DropNewest"}))
    bench.start()
    for turn in range(2000):
        bench.accept()
        if turn % 20 == 0:
            await asyncio.sleep(0.05)
        assert bench.delivery.queued <= 1000
    assert bench.delivery.dropped == {("MESSAGE_CREATE", "queue full"): 1000}
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert [sequence for _, sequence in bench.receiver.received()] == list(range(1, 1001))
    assert bench.watermark() == 2000


@virtual
async def test_what_is_too_old_is_dropped_from_disk() -> None:
    bench = spilling(forward(lanes=1, queue={"max_age_seconds": 60.0}, max_batch_events=10))
    bench.start()
    for _ in range(30_000):
        bench.accept()
        await asyncio.sleep(0.01)
    assert bench.delivery.queued < 6200, "a minute's worth, what is in flight, and what one look lags behind"
    assert bench.delivery.counters["dropped"] + bench.delivery.queued == 30_000
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    received = [sequence for _, sequence in bench.receiver.received()]
    assert received == sorted(received)
    assert bench.watermark() == 30_000


@virtual
async def test_the_queue_on_disk_is_bounded_in_bytes() -> None:
    bench = spilling(forward(lanes=1, queue={"max_bytes": 1_000_000}))
    bench.start()
    for turn in range(10_000):
        bench.accept()
        if turn % 20 == 0:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    assert 2500 < bench.delivery.queued < 1_000_000 // 250
    assert bench.delivery.queued + bench.delivery.counters["dropped"] == 10_000


# --- Pause ----------------------------------------------------------------------------------------------------------


@virtual
async def test_a_full_queue_pauses_reading_and_drops_nothing_while_the_sessions_can_wait() -> None:
    config = forward(lanes=1, queue={"max_events": 1000, "overflow": "Pause"})
    bench = spilling(config, pauses=True, replay_seconds=60.0)
    bench.start()
    for _ in range(1000):
        bench.accept()
    assert not bench.paused
    bench.accept()
    assert bench.paused
    for _ in range(200):  # what was in the socket's buffer
        bench.accept()
    await asyncio.sleep(3)
    assert bench.paused
    assert bench.delivery.counters["dropped"] == 0
    bench.receiver.answer = acknowledge
    await asyncio.sleep(10)
    assert not bench.paused
    assert await bench.delivery.drain(10)
    assert [sequence for _, sequence in bench.receiver.received()] == list(range(1, 1202))
    assert bench.delivery.counters["pauses"] == 1


@virtual
async def test_a_pause_ends_before_the_session_would_and_then_the_oldest_is_dropped_and_counted() -> None:
    bench = spilling(forward(lanes=1, queue={"max_events": 1000, "overflow": "Pause"}), pauses=True)
    bench.start()
    for _ in range(1100):
        bench.accept()
    assert bench.paused
    await asyncio.sleep(5.2)  # half of the ten seconds that the replay buffers last
    assert not bench.paused
    assert any("would not survive a longer one" in line for line in bench.logged)
    for _ in range(500):
        bench.accept()
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    assert not bench.paused, "the queue is still full: a pause again would help nobody"
    assert bench.delivery.queued == 1000
    assert bench.delivery.dropped == {("MESSAGE_CREATE", "queue full"): 600}
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(10)
    await asyncio.sleep(0.2)
    bench.receiver.answer = away
    for _ in range(1001):
        bench.accept()
    assert bench.paused, "when there was room meanwhile, it pauses again"


@virtual
async def test_events_that_come_faster_than_the_disk_takes_them_pause_reading() -> None:
    bench = spilling(forward(lanes=1), pauses=True)
    bench.start()
    for _ in range(100):
        bench.accept()
    big = b'{"t":"X","s":1,"op":0,"d":{"x":"' + b"x" * 100_000 + b'"}}'
    for sequence in range(101, 801):
        bench.delivery.accept(0, "session-0", sequence, "X", big)
    await asyncio.sleep(0.06)
    assert bench.paused
    await asyncio.sleep(1)
    assert not bench.paused
    assert bench.delivery.memory < 10 << 20
    assert bench.delivery.stored == 800


# --- Disks that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_told_once_and_the_delivery_goes_on_from_memory(code: int) -> None:
    async def story() -> None:
        bench = spilling(forward(lanes=2))
        assert bench.disk is not None
        bench.start()
        for shard in range(300):
            bench.accept(shard % 3)
        await asyncio.sleep(2)
        before = bench.delivery.stored
        assert before == 300
        bench.disk.fail_writes = OSError(code, "")
        for _ in range(40):
            for shard in range(3):
                bench.accept(shard)
            await asyncio.sleep(1)
        assert bench.delivery.disk_problem is not None
        assert len([line for line in bench.logged if "Delivery goes on from memory" in line]) == 1
        assert bench.watermark(0) == 100, "what is only in memory is not safe"
        bench.disk.fail_writes = None
        await asyncio.sleep(31)
        assert bench.delivery.disk_problem is None
        assert any("works again" in line for line in bench.logged)
        assert bench.delivery.stored == 420
        bench.disk.fail_writes = OSError(code, "")
        bench.receiver.answer = acknowledge
        for shard in range(300):
            bench.accept(shard % 3)
        assert await bench.delivery.drain(30)
        for shard in range(3):
            order = [sequence for session, sequence in bench.receiver.received() if session == f"session-{shard}"]
            assert order == list(range(1, 241))
        assert bench.delivery.counters["dropped"] == 0

    run_virtual(story())


@virtual
async def test_the_notes_of_sessions_that_are_over_are_removed_also_when_the_disk_fails_just_then() -> None:
    bench = spilling(forward(lanes=2))
    assert bench.disk is not None
    file = bench.disk.spills[STORE]
    bench.start()
    for shard in range(2):
        bench.accept(shard)
    await asyncio.sleep(2)
    assert {"session:session-0", "session:session-1"} <= file.notes.keys()
    bench.delivery.forget_session("session-1")
    commit, failed = bench.delivery._spiller._store.commit, []  # type: ignore[union-attr]

    async def fails_at_notes(transaction: SpillTransaction) -> None:
        for name, value in transaction.notes.items():
            if value is None and name not in failed:
                failed.append(name)
                raise SpillError("failed")
        await commit(transaction)

    bench.delivery._spiller._store.commit = fails_at_notes  # type: ignore[union-attr, method-assign]
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(10)
    await asyncio.sleep(60)
    assert sorted(failed) == ["session:session-0", "session:session-1"]
    assert file.groups == {}
    assert not {"session:session-0", "session:session-1"} & file.notes.keys()


@virtual
async def test_a_disk_that_fails_from_the_start_is_used_once_it_works() -> None:
    disk = VirtualDisk()
    disk.fail_reads = disk.fail_writes = OSError(errno.EROFS, "")
    bench = spilling(disk=disk)
    bench.start()
    for _ in range(10):
        bench.accept()
    await asyncio.sleep(5)
    assert bench.delivery.disk_problem is not None
    assert bench.delivery.queued == 10
    disk.fail_reads = disk.fail_writes = None
    await asyncio.sleep(31)
    assert (bench.delivery.disk_problem, bench.delivery.stored) == (None, 10)


@virtual
async def test_a_damaged_store_is_set_aside_and_the_sessions_resume_from_what_was_delivered() -> None:
    bench = spilling(forward(lanes=1))
    bench.receiver.answer = acknowledge
    bench.start()
    for _ in range(5):
        bench.accept()
    await asyncio.sleep(1)
    bench.receiver.answer = away
    for _ in range(5):
        bench.accept()
    await asyncio.sleep(2)
    delivered = bench.delivery.delivered("session-0")
    assert (bench.watermark(), delivered) == (10, 5)
    assert bench.disk is not None and delivered is not None
    bench.disk.spills[STORE].damaged = True
    later = await reborn(bench)
    later.delivery.resume_session("session-0", delivered)
    assert later.watermark() == 5, "Discord is asked for the rest again"
    assert any("is damaged" in line and "kept as" in line for line in later.logged)
    for sequence in range(6, 11):
        later.delivery.accept(0, "session-0", sequence, "X", payload(sequence))
    assert await later.delivery.drain(5)
    assert later.watermark() == 10


@virtual
async def test_a_store_that_is_damaged_while_it_is_used_costs_what_only_it_had_and_that_is_counted() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    await accept_a_backlog(bench)
    await asyncio.sleep(2)
    in_memory = sum(1 for _ in _events(bench))
    assert 0 < in_memory < 15_000
    assert bench.disk is not None
    bench.disk.spills[STORE].damaged = True
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    lost = bench.delivery.dropped["MESSAGE_CREATE", "unreadable on disk"]
    assert lost == bench.delivery.counters["dropped"] > 0
    assert len(bench.receiver.received()) + lost == 20_000, "delivered or counted"
    assert bench.watermark() == 20_000
    bench.receiver.answer = away
    for _ in range(10):
        bench.accept()
    await asyncio.sleep(3)
    assert bench.delivery.stored == 10, "a new store is begun"
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(30)


def _events(bench: Bench) -> Iterator[object]:
    for lane in bench.delivery._all_lanes():
        yield from lane.events()


@pytest.mark.parametrize("restart", [False, True])
def test_a_payload_with_a_bit_turned_on_disk_is_counted_and_the_rest_delivered(restart: bool) -> None:
    async def story() -> None:
        bench = spilling(forward(lanes=1, max_batch_events=10))
        bench.start()
        await accept_a_backlog(bench)
        await asyncio.sleep(2)
        assert bench.disk is not None
        file = bench.disk.spills[STORE]
        number = sorted(file.groups)[-100]
        group = file.groups[number]
        body = bytearray(group.body)
        body[len(body) // 2] ^= 1
        file.groups[number] = SpilledGroup(id=number, lane=group.lane, summary=group.summary, body=bytes(body))
        if restart:
            bench = await reborn(bench)
        bench.receiver.answer = acknowledge
        assert await bench.delivery.drain(60)
        lost = bench.delivery.dropped["MESSAGE_CREATE", "unreadable on disk"]
        assert 1 <= lost <= 10
        received = [sequence for _, sequence in bench.receiver.received()]
        assert len(received) + lost == 20_000
        assert received == sorted(received)
        assert any("checksum" in line for line in bench.logged)

    run_virtual(story())


@virtual
async def test_rows_that_somebody_removed_are_counted() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    await accept_a_backlog(bench)
    assert bench.disk is not None
    bench.disk.spills[STORE].groups.clear()
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert len(bench.receiver.received()) + bench.delivery.counters["dropped"] == 20_000
    assert bench.delivery.counters["dropped"] > 0


def break_summary(bench: Bench, at: int) -> int:
    """Make the summary of a group on disk no text any more; how many events it has."""
    assert bench.disk is not None
    groups = bench.disk.spills[STORE].groups
    number = sorted(groups)[at]
    group = groups[number]
    count = decode_summary(group.summary).count
    summary = group.summary.replace(b"MESSAGE", b"MESS\xffGE")
    assert summary != group.summary
    groups[number] = SpilledGroup(id=number, lane=group.lane, summary=summary, body=group.body)
    return count


@virtual
async def test_a_group_whose_summary_is_broken_is_counted_once_and_the_rest_delivered() -> None:
    bench = spilling(forward(lanes=1, max_batch_events=10))
    bench.start()
    await accept_a_backlog(bench)
    await asyncio.sleep(2)
    lost = break_summary(bench, -100)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert bench.delivery.dropped == {("MESSAGE_CREATE", "unreadable on disk"): lost}
    received = [sequence for _, sequence in bench.receiver.received()]
    assert received == sorted(received)
    assert len(received) + lost == 20_000
    assert not any("failed" in line for line in bench.logged)
    assert len([line for line in bench.logged if "are lost and counted" in line]) == 1
    await asyncio.sleep(5)
    assert bench.disk is not None
    assert bench.disk.spills[STORE].groups == {}, "the next life would give up the whole store for it"


@virtual
async def test_a_broken_summary_or_note_keeps_no_process_from_starting() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    for _ in range(10):
        bench.accept()
    await asyncio.sleep(2)
    break_summary(bench, 0)
    later = await reborn(bench)
    assert later.delivery.disk_problem is None
    assert any("kept as" in line for line in later.logged)
    assert later.disk is not None
    for name in ("lanes:x", "session:session-0"):
        later.disk.spills[STORE].notes[name] = b"\x92\x02\xa5shar\xff"
        later = await reborn(later)
        assert later.delivery.disk_problem is None
        assert any("kept as" in line for line in later.logged)


@virtual
async def test_a_disk_that_takes_events_and_does_not_give_them_is_told_once() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    await accept_a_backlog(bench)
    await asyncio.sleep(2)
    assert bench.disk is not None
    bench.disk.fail_reads = OSError(errno.EIO, "")
    bench.receiver.answer = acknowledge
    await asyncio.sleep(10)  # what is in memory is delivered, and the lane waits for the disk
    for _ in range(30):
        bench.accept()
        await asyncio.sleep(1)
        assert bench.delivery.disk_problem is not None
    assert len([line for line in bench.logged if "Its events wait" in line]) == 1
    bench.disk.fail_reads = None
    await asyncio.sleep(2)
    assert bench.delivery.disk_problem is None
    assert len([line for line in bench.logged if "gives them again" in line]) == 1
    assert await bench.delivery.drain(60)
    assert len(bench.receiver.received()) == 20_030


@virtual
async def test_a_disk_that_could_not_be_read_at_the_start_takes_events_beside_those_of_an_earlier_life() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    for _ in range(10):
        bench.accept()
    await asyncio.sleep(2)
    assert bench.disk is not None and on_disk(bench) == 10
    await bench.kill()
    bench.disk.fail_reads = OSError(errno.EIO, "")
    later = spilling(bench.forward, bench.disk)
    bench.disk.fail_reads = None
    later.start()
    for _ in range(10):
        later.accept(1)
    await asyncio.sleep(31)
    assert (later.delivery.disk_problem, on_disk(later)) == (None, 10)
    last = await reborn(later)
    assert last.delivery.queued == 20
    assert await last.delivery.drain(5)
    order = [(f"session-{shard}", sequence) for shard in range(2) for sequence in range(1, 11)]
    assert last.receiver.received() == order


@virtual
async def test_what_is_just_being_written_is_in_no_store_that_was_given_up_meanwhile() -> None:
    bench = spilling(forward(lanes=1))
    bench.start()
    for _ in range(10):
        bench.accept()
    spiller = bench.delivery._spiller
    assert spiller is not None
    [lane] = bench.delivery._all_lanes()
    for _ in range(2000):
        await asyncio.sleep(0.001)
        if lane.writing:
            break
    assert lane.writing
    spiller._give_up(SpillError("cannot be read", damaged=False))  # as reading does
    lane.written.clear()
    await lane.written.wait()
    assert (bench.watermark(0), bench.delivery.stored) == (0, 0)
    await asyncio.sleep(2)
    assert (bench.watermark(0), bench.delivery.stored, on_disk(bench)) == (10, 10, 10)
    last = await reborn(bench)
    last.receiver.answer = acknowledge
    assert await last.delivery.drain(5)
    assert last.receiver.received() == [("session-0", sequence) for sequence in range(1, 11)]
