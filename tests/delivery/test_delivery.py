"""The delivery contract, on virtual time."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

from shard_runtime.delivery import DiskDeadLetters
from shard_runtime.delivery.dead_letters import DEAD_LETTERS_KEPT, NOT_KEPT
from shard_runtime.ports import NetworkError, Response
from tests.delivery.receiver import Bench, Receiver, Request, acknowledge, forward, payload, status
from tests.virtual.disk import VirtualDisk
from tests.virtual.loop import run_virtual


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_virtual(test())

    del run.__wrapped__  # pytest would take the test for a coroutine
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def fails(_: Request) -> Response:
    await asyncio.sleep(0.001)
    return status(500)


async def hangs(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@virtual
async def test_payloads_are_delivered_byte_for_byte_under_the_contracts_headers() -> None:
    bench = Bench(forward(lanes=1))
    odd = b'{"t":"X", "s":1,"op":0,\n "d":{"b":1.0,"a":"\\ud800"} }'
    bench.delivery.session_started('quo"te', 1)
    bench.delivery.accept(3, 'quo"te', 1, "X", odd)
    bench.delivery.accept(3, 'quo"te', 2, "Y", b'{"s":2}', maybe_duplicate=True)
    bench.start()
    assert await bench.delivery.drain(1)
    (request,) = bench.receiver.requests
    assert request.body == (
        b'[{"shard":3,"session":"quo\\"te","payload":' + odd + b"},"
        b'{"shard":3,"session":"quo\\"te","maybeDuplicate":true,"payload":{"s":2}}]'
    )
    assert request.headers["X-Gateway-Name"] == "my-bot"
    assert request.headers["X-Gateway-Generation"] == "3"
    assert request.headers["X-Gateway-Shards"] == "16"
    assert request.headers["X-Gateway-Events"] == "2"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"]
    assert bench.delivery.counters["maybeDuplicate"] == 1


@virtual
async def test_a_single_payload_is_the_whole_body() -> None:
    bench = Bench(forward(format="single"))
    bench.accept(5)
    bench.accept(5)
    bench.start()
    assert await bench.delivery.drain(1)
    assert [request.body for request in bench.receiver.requests] == [payload(1), payload(2)]
    assert bench.receiver.requests[0].headers["X-Gateway-Shard"] == "5"
    assert bench.receiver.requests[0].headers["X-Gateway-Session"] == "session-5"
    assert bench.receiver.requests[0].headers["X-Gateway-Events"] == "1"


@virtual
async def test_an_idle_lane_sends_at_once_and_a_busy_one_collects() -> None:
    bench = Bench(forward(lanes=1, max_delay_milliseconds=2.0))
    bench.start()
    await asyncio.sleep(1)
    bench.accept()
    await asyncio.sleep(0.0005)
    assert len(bench.receiver.requests) == 1, "an idle lane does not wait"
    for _ in range(10):
        bench.accept(0)
        bench.accept(1)
    assert await bench.delivery.drain(1)
    assert [len(request.entries) for request in bench.receiver.requests] == [1, 20]
    assert bench.receiver.requests[1].at - bench.receiver.requests[0].at <= 0.003


@virtual
async def test_batches_keep_to_their_bounds() -> None:
    bench = Bench(forward(lanes=1, max_batch_events=10, max_batch_bytes=500))
    for _ in range(60):
        bench.accept()
    bench.start()
    assert await bench.delivery.drain(10)
    assert all(len(request.entries) <= 10 and len(request.body) <= 500 for request in bench.receiver.requests)
    assert bench.receiver.received() == [("session-0", sequence) for sequence in range(1, 61)]


@virtual
async def test_an_event_larger_than_a_batch_travels_alone() -> None:
    bench = Bench(forward(lanes=1, max_batch_bytes=10))
    bench.accept()
    bench.accept()
    bench.start()
    assert await bench.delivery.drain(10)
    assert [len(request.entries) for request in bench.receiver.requests] == [1, 1]


@virtual
async def test_one_request_is_in_flight_per_lane_and_a_slow_lane_holds_up_no_other() -> None:
    bench = Bench(forward(lanes=4))

    async def slow_for_shard_0(request: Request) -> Response:
        await asyncio.sleep(5 if request.entries[0]["shard"] == 0 else 0.001)
        return status(200)

    bench.receiver.answer = slow_for_shard_0
    bench.start()
    for _ in range(50):
        for shard in range(4):
            bench.accept(shard)
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    assert [bench.delivery.queued_of(shard) for shard in range(4)] == [50, 0, 0, 0]
    assert bench.receiver.most_in_flight <= 4
    assert bench.watermark(1) == 50
    assert bench.watermark(0) == 0


@virtual
async def test_a_retry_sends_the_same_bytes_until_acknowledged() -> None:
    bench = Bench(forward(lanes=1))
    bench.receiver.answer = fails
    bench.start()
    bench.accept()
    await asyncio.sleep(0.0005)
    for _ in range(5):
        bench.accept()
    await asyncio.sleep(30)
    tries = list(bench.receiver.requests)
    assert len(tries) > 5
    assert len({request.body for request in tries}) == 1
    assert bench.watermark() == 0
    assert not bench.delivery.receiver.reachable
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(10)
    assert bench.receiver.requests[len(tries)].body == tries[0].body
    assert bench.delivery.receiver.reachable
    assert bench.delivery.receiver.problem is None
    assert bench.receiver.received() == [("session-0", sequence) for sequence in range(1, 7)]


@virtual
async def test_pauses_between_tries_grow_to_a_cap_and_are_not_in_step() -> None:
    bench = Bench(forward(lanes=2))
    bench.receiver.answer = fails
    bench.accept(0)
    bench.accept(1)
    bench.start()
    await asyncio.sleep(600)
    times = [request.at for request in bench.receiver.requests if request.entries[0]["shard"] == 0]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(pauses) <= 5.1
    assert max(pauses[-20:]) > 2
    assert sum(pauses[:3]) < 1
    others = {request.at for request in bench.receiver.requests if request.entries[0]["shard"] == 1}
    assert len(others & set(times[5:])) == 0


@virtual
async def test_retry_after_is_waited_for() -> None:
    bench = Bench(forward(lanes=1))

    async def busy(_: Request) -> Response:
        return status(429, retry_after="7")

    bench.receiver.answer = busy
    bench.accept()
    bench.start()
    await asyncio.sleep(1)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(20)
    first, second = bench.receiver.requests
    assert second.at - first.at >= 6.999


@virtual
async def test_a_receiver_that_hangs_is_a_sentence_without_secrets() -> None:
    bench = Bench(forward(lanes=1, timeout_seconds=2))
    bench.receiver.answer = hangs
    bench.accept()
    bench.start()
    await asyncio.sleep(3)
    problem = bench.delivery.receiver.problem
    assert problem is not None
    assert problem.startswith("Receiver http://bot.test:8080/events gave no answer:")
    assert "hunter2" not in problem + "".join(bench.logged)
    assert len(bench.logged) == 1
    await asyncio.sleep(60)
    assert len(bench.logged) == 1, "one line when it begins, not one for each retry"
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(20)
    assert len(bench.logged) == 2


@virtual
async def test_redirects_are_refused() -> None:
    bench = Bench(forward(lanes=1))

    async def moved(_: Request) -> Response:
        return status(308, location="http://elsewhere.test/?token=hunter2")

    bench.receiver.answer = moved
    bench.accept()
    bench.start()
    await asyncio.sleep(2)
    assert {request.url for request in bench.receiver.requests} == {bench.forward.url}
    problem = bench.delivery.receiver.problem
    assert problem is not None
    assert "answered 308" in problem
    assert "hunter2" not in problem
    assert bench.delivery.queued == 1


@virtual
async def test_dropping_the_oldest_never_touches_a_batch_in_flight() -> None:
    bench = Bench(forward(lanes=1, queue={"max_events": 20}, max_batch_events=8))
    bench.receiver.answer = hangs
    bench.start()
    for _ in range(8):
        bench.accept()
    await asyncio.sleep(0.5)
    for _ in range(100):
        bench.accept(name="TYPING_START")
        assert bench.delivery.queued <= 20
    assert bench.delivery.dropped == {("TYPING_START", "queue full"): 88}
    assert bench.watermark() == 0
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert [sequence for _, sequence in bench.receiver.received()] == [*range(1, 9), *range(97, 109)]
    assert bench.watermark() == 108
    assert bench.delivery.counters["dropped"] == 88
    assert bench.delivery.counters["accepted"] == 108
    assert bench.delivery.counters["acknowledged"] == 20


@virtual
async def test_when_everything_is_in_flight_the_new_event_is_dropped_and_counted() -> None:
    bench = Bench(forward(lanes=1, queue={"max_events": 4}))
    bench.receiver.answer = hangs
    for _ in range(4):
        bench.accept()
    bench.start()
    await asyncio.sleep(0.1)
    bench.accept()
    assert bench.delivery.queued == 4
    assert bench.delivery.counters["dropped"] == 1
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert bench.watermark() == 5


@virtual
async def test_dropping_the_newest_keeps_the_backlog() -> None:
    bench = Bench(forward(lanes=1, queue={"max_events": 20, "overflow": "DropNewest"}))
    for _ in range(30):
        bench.accept()
    bench.start()
    assert await bench.delivery.drain(10)
    assert [sequence for _, sequence in bench.receiver.received()] == list(range(1, 21))
    assert bench.watermark() == 30
    assert bench.delivery.dropped == {("MESSAGE_CREATE", "queue full"): 10}


@virtual
async def test_the_queue_is_bounded_in_bytes() -> None:
    bench = Bench(forward(lanes=4, queue={"max_bytes": 10_000}))
    for turn in range(1000):
        bench.accept(turn % 7)
    assert 0 < bench.delivery.queued < 10_000 // 250
    assert bench.delivery.counters["dropped"] == 1000 - bench.delivery.queued
    bench.delivery.reconfigure(forward(lanes=4, queue={"max_bytes": 5_000}))
    assert 0 < bench.delivery.queued <= 5_000 // 250
    bench.start()
    assert await bench.delivery.drain(10)
    assert all(bench.watermark(shard) == bench.sequences[f"session-{shard}"] for shard in range(7))


@virtual
async def test_what_is_too_old_is_dropped_and_counted() -> None:
    bench = Bench(forward(lanes=1, queue={"max_age_seconds": 10.0}))
    bench.receiver.answer = hangs
    bench.start()
    bench.accept()
    await asyncio.sleep(1)
    bench.accept()
    await asyncio.sleep(20)
    assert bench.delivery.oldest_seconds == 21
    bench.accept()
    assert bench.delivery.dropped == {("MESSAGE_CREATE", "older than forward.queue.maxAgeSeconds"): 1}
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert [sequence for _, sequence in bench.receiver.received()] == [1, 3]
    assert bench.watermark() == 3


@virtual
async def test_an_excluded_event_counts_for_the_watermark() -> None:
    bench = Bench(forward(events={"include": ["A", "B"], "exclude": ["B"]}))
    for name in ("B", "A", "C", "A"):
        bench.accept(name=name)
    assert bench.watermark() == 1
    assert bench.delivery.queued == 2
    bench.delivery.reconfigure(forward(events={"exclude": ["A"]}))
    bench.accept(name="A")
    bench.start()
    assert await bench.delivery.drain(1)
    assert [sequence for _, sequence in bench.receiver.received()] == [2, 4], "what was accepted before is owed"
    assert bench.watermark() == 5
    assert bench.delivery.counters["excluded"] == 3


@virtual
async def test_a_batch_in_flight_follows_a_new_url_with_the_same_body() -> None:
    bench = Bench(forward(lanes=1))
    bench.receiver.answer = fails
    bench.start()
    bench.accept()
    await asyncio.sleep(120)
    bench.receiver.answer = acknowledge
    bench.receiver.requests.clear()
    bench.delivery.reconfigure(forward(lanes=1, url="http://new.test/", max_batch_events=1))
    changed_at = now()
    assert await bench.delivery.drain(5)
    (request,) = bench.receiver.requests
    assert request.url == "http://new.test/"
    assert request.at == changed_at, "it does not wait out the pause for the old URL"


@virtual
async def test_a_change_of_lanes_keeps_the_order_of_every_shard() -> None:
    bench = Bench(forward(lanes=3))
    bench.receiver.answer = hangs
    bench.start()
    for turn, lanes in enumerate((3, 1, 5, 2)):
        bench.delivery.reconfigure(forward(lanes=lanes))
        for _ in range(20):
            for shard in range(7):
                bench.accept(shard)
        await asyncio.sleep(turn)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    for shard in range(7):
        order = [sequence for session, sequence in bench.receiver.received() if session == f"session-{shard}"]
        assert order == list(range(1, 81))
    await asyncio.sleep(1)
    bench.accept()
    assert await bench.delivery.drain(1)


@virtual
async def test_a_refused_payload_is_found_kept_as_a_dead_letter_and_the_rest_arrives() -> None:
    written: dict[str, bytes] = {}

    class Memory:
        def write(self, path: Path, data: bytes) -> None:
            written[path.name] = data

        read = write_soon = remove = write

        def oldest_first(self, folder: Path) -> list[Path]:
            return []

    bench = Bench(
        forward(lanes=1),
        dead_letters=DiskDeadLetters(disk=Memory(), folder=Path("/dead")),  # type: ignore[arg-type]
    )

    async def refuses_13(request: Request) -> Response:
        return status(422 if any(entry["payload"]["s"] == 13 for entry in request.entries) else 200)

    bench.receiver.answer = refuses_13
    for _ in range(40):
        bench.accept()
    bench.start()
    assert await bench.delivery.drain(60)
    assert [sequence for _, sequence in bench.receiver.received()] == [*range(1, 13), *range(14, 41)]
    assert bench.watermark() == 40
    assert bench.delivery.counters["deadLettered"] == 1
    assert json.loads(written["session0-13.json"])["payload"]["s"] == 13
    assert any("after 5 tries; kept in the dead-letter log as session-0:13" in line for line in bench.logged)
    alone = [
        request for request in bench.receiver.requests if request.body.count(b'"s":') == 1 and b'"s":13' in request.body
    ]
    assert len(alone) == 5


async def refuses_presences(request: Request) -> Response:
    await asyncio.sleep(0.001)
    return status(413 if b"PRESENCE_UPDATE" in request.body else 200)


@virtual
async def test_the_newest_dead_letters_are_kept_whoever_wrote_them_and_the_lane_moves_on() -> None:
    disk, folder = VirtualDisk(), Path("/state/dead-letters")
    disk.write(Path("/state/sessions.json"), b"no letter")
    for life in range(2):
        bench = Bench(forward(lanes=1, max_batch_events=1), dead_letters=DiskDeadLetters(disk=disk, folder=folder))
        bench.receiver.answer = refuses_presences
        bench.start()
        bench.sequences["session-0"] = life * 10_000
        for _ in range(DEAD_LETTERS_KEPT * 3 // 4):
            bench.accept(name="PRESENCE_UPDATE")
        good = bench.accept()
        assert await bench.delivery.drain(7 * 24 * 3600)
        assert bench.receiver.received() == [("session-0", good)]
        assert bench.delivery.counters["deadLettered"] == DEAD_LETTERS_KEPT * 3 // 4
        await bench.stop()
    kept = disk.oldest_first(folder)
    assert len(kept) == DEAD_LETTERS_KEPT
    assert (kept[0].name, kept[-1].name) == ("session0-501.json", "session0-10750.json")
    assert disk.read(Path("/state/sessions.json")) == b"no letter"


@virtual
async def test_a_refused_payload_that_the_disk_does_not_take_is_dropped_and_counted_and_the_lane_moves_on() -> None:
    disk = VirtualDisk()
    bench = Bench(forward(lanes=1), dead_letters=DiskDeadLetters(disk=disk, folder=Path("/dead")))
    bench.receiver.answer = refuses_presences
    disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
    bench.start()
    bench.accept(name="PRESENCE_UPDATE")
    good = bench.accept()
    assert await bench.delivery.drain(60)
    assert bench.receiver.received() == [("session-0", good)]
    assert bench.watermark() == good
    assert bench.delivery.dropped == {("PRESENCE_UPDATE", NOT_KEPT): 1}
    assert bench.delivery.counters["deadLettered"] == 0
    assert any("No space left on device" in line and "session-0:1 (PRESENCE_UPDATE)" in line for line in bench.logged)
    disk.fail_writes = None
    bench.accept(name="PRESENCE_UPDATE")
    assert await bench.delivery.drain(60)
    assert [path.name for path in disk.files()] == ["session0-3.json"]


@virtual
async def test_a_refused_payload_waits_where_dead_letters_are_not_wanted() -> None:
    bench = Bench(forward(lanes=1))

    async def refuses(_: Request) -> Response:
        return status(400)

    bench.receiver.answer = refuses
    bench.accept()
    bench.accept()
    bench.start()
    await asyncio.sleep(300)
    assert bench.delivery.queued == 2
    assert bench.watermark() == 0
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(10)
    assert [sequence for _, sequence in bench.receiver.received()] == [1, 2]


@virtual
async def test_guilds_are_counted_from_what_is_queued_already() -> None:
    bench = Bench(forward(lanes=1, max_batch_events=4))
    bench.receiver.answer = hangs
    bench.start()
    for guild in (7, 7, 8, 0, 7, 9):
        bench.delivery.accept(0, "s", guild + 1, "MESSAGE_CREATE", payload(1, guild=guild))
    await asyncio.sleep(0.1)
    bench.delivery.track_guilds(True)
    assert {guild: bench.delivery.unacknowledged(guild) for guild in (0, 7, 8, 9, 10)} == {
        0: 1,
        7: 3,
        8: 1,
        9: 1,
        10: 0,
    }
    bench.delivery.accept(0, "s", 100, "MESSAGE_CREATE", payload(1, guild=10))
    assert set(bench.delivery.unacknowledged_guilds()) == {0, 7, 8, 9, 10}
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert not bench.delivery.unacknowledged_guilds()


@virtual
async def test_a_lane_that_fails_is_restarted_with_the_same_batch() -> None:
    bench = Bench(forward(lanes=1))

    async def breaks(_: Request) -> Response:
        raise RuntimeError("a defect")

    bench.receiver.answer = breaks
    bench.accept()
    bench.start()
    await asyncio.sleep(2.5)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(5)
    assert any("a defect" in line for line in bench.logged)
    assert bench.receiver.received() == [("session-0", 1)]


@virtual
async def test_a_cancelled_run_goes_on_with_what_was_left() -> None:
    bench = Bench(forward(lanes=2))
    bench.receiver.answer = hangs
    bench.start()
    for shard in (0, 1, 0, 1):
        bench.accept(shard)
    await asyncio.sleep(0.1)
    assert not await bench.delivery.drain(0.5)
    await bench.stop()
    assert bench.delivery.queued == 4
    bench.receiver.answer = acknowledge
    bench.start()
    assert await bench.delivery.drain(1)
    assert (bench.watermark(0), bench.watermark(1)) == (2, 2)


@virtual
async def test_a_forgotten_session_is_still_delivered_and_then_gone() -> None:
    bench = Bench()
    bench.accept()
    bench.delivery.forget_session("session-0")
    assert bench.watermark() is None
    assert bench.delivery.queued_of(0) == 1
    bench.start()
    assert await bench.delivery.drain(1)
    assert bench.receiver.received() == [("session-0", 1)]
    bench.delivery.skip("session-0", 2)
    assert bench.watermark() is None


@virtual
async def test_a_restored_session_starts_from_its_watermark() -> None:
    bench = Bench()
    bench.delivery.resume_session("old", 41)
    assert bench.delivery.watermark("old") == 41
    bench.delivery.skip("old", 43)
    assert bench.delivery.watermark("old") == 41
    bench.delivery.accept(0, "old", 42, "X", payload(42))
    bench.start()
    assert await bench.delivery.drain(1)
    assert bench.delivery.watermark("old") == 43


@virtual
async def test_of_what_a_resume_brings_again_the_finished_is_known_and_the_unsure_is_marked() -> None:
    before = Bench()
    before.delivery.session_started("old", 1)
    for sequence in (2, 3, 5, 6, 8):
        before.delivery.skip("old", sequence)
    watermark = before.delivery.delivered("old")
    assert watermark == 0
    bench = Bench()
    bench.delivery.resume_session("old", watermark, finished=before.delivery.delivered_above("old"), unsure=[4, 9])
    bench.start()
    for sequence in range(1, 12):
        bench.delivery.accept(0, "old", sequence, "X", payload(sequence))
    assert await bench.delivery.drain(1)
    entries = [entry for request in bench.receiver.requests for entry in request.entries]
    assert [entry["payload"]["s"] for entry in entries] == [1, 4, 7, 9, 10, 11]
    assert [entry["payload"]["s"] for entry in entries if entry.get("maybeDuplicate")] == [4, 9]
    assert bench.delivery.watermark("old") == 11


@virtual
async def test_what_is_given_up_before_it_was_accepted_is_counted() -> None:
    bench = Bench()
    bench.accept()
    bench.delivery.drop("session-0", 2, "TYPING_START", "held too much")
    assert bench.delivery.dropped == {("TYPING_START", "held too much"): 1}
    bench.start()
    assert await bench.delivery.drain(1)
    assert bench.watermark() == 2


@virtual
async def test_a_network_error_never_acknowledges() -> None:
    receiver = Receiver()
    bench = Bench(forward(lanes=1), receiver=receiver)

    async def refused(_: Request) -> Response:
        raise NetworkError("bot.test:8080: connection refused")

    receiver.answer = refused
    bench.accept()
    bench.start()
    await asyncio.sleep(10)
    assert bench.delivery.queued == 1
    assert bench.delivery.receiver.problem is not None
    assert "connection refused" in bench.delivery.receiver.problem
