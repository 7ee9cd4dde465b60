"""``/metrics`` of a pod: read with the parser that Prometheus publishes, and true."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from runtime.configuration import configuration
from runtime.in_process import PodInOneProcess
from runtime.stage import record
from runtime.town import GUILDS, all_ready, make_town
from virtual.disk import VirtualDisk
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.admin.messages import Head
from shard_runtime.channel import DirectLink
from shard_runtime.measures import ALONE, Histogram, HistogramCounts, Measures, merged
from shard_runtime.mounts import Secrets
from shard_runtime.orders import AskStatus, Done, FromWorker, ToWorker, WorkerStatus
from shard_runtime.shard_meter import MOST_NAMES, ShardMeter
from shard_runtime.supervisor.metrics import FAMILIES, PREFIX, render_metrics
from shard_runtime.supervisor.pod import Pod
from shard_runtime.supervisor.surface import Surface

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
COMMON = {"gateway": "bot", "generation": "1"}


class Scrape:
    """One exposition, parsed."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The sample *name*, without the prefix."""
        return self._samples[PREFIX + name, frozenset({**COMMON, **labels}.items())]

    def labels(self, name: str, label: str) -> set[str]:
        """Values that *label* has."""
        return {dict(labels)[label] for found, labels in self._samples if found == PREFIX + name}


async def scrape(pod: PodInOneProcess) -> Scrape:
    assert pod.pod is not None
    answer = await Surface(pod.pod).respond(Head(method="GET", path="/metrics", headers={}), b"")
    assert answer.status == 200
    return Scrape(answer.body.decode())


def test_a_pod_measures_what_came_what_went_and_what_happened() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 2)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        await town.talk(4)
        first, second = town.discord.sessions.values()
        assert first.socket is not None and second.socket is not None
        first.socket.close(4000)
        await world.until(lambda: len(town.discord.resumes) == 1, within=30)
        second.socket.abort()
        await world.until(lambda: len(town.discord.resumes) == 2, within=30)
        await town.talk(4)
        await world.clock.sleep(60)
        calm = await scrape(pod)

        assert calm.value("shards", state="ready") == 2
        assert calm.value("role", role="active") == 1
        assert calm.value("guilds") == 2 * len(GUILDS)
        assert calm.value("identifies_total") == len(town.discord.identifies) == 2
        assert calm.value("resumes_total") == len(town.discord.resumes) == 2
        assert calm.value("closes_total", code="4000") == 1
        assert calm.value("closes_total", code="none") == 1
        assert calm.value("reconnects_total", cause="closed") == 2
        assert calm.value("events_received_total", event="MESSAGE_CREATE") == town.sent == 400
        assert calm.value("events_received_total", event="READY") == 2
        assert calm.value("events_received_total", event="RESUMED") == 2
        accepted = 400 + 2 + 2 * len(GUILDS)
        assert calm.value("events_accepted_total") == calm.value("events_acknowledged_total") == accepted
        assert calm.value("delivery_latency_seconds_count") == accepted
        assert calm.value("batch_events_sum") == accepted
        assert 0 < calm.value("delivery_latency_seconds_sum") < accepted
        assert calm.value("requests_total", outcome="acknowledged") == calm.value("request_duration_seconds_count")
        assert calm.value("received_bytes_total") == calm.value("payload_bytes_total") > 100 * accepted
        # a beat after each HELLO and one each 41.25 s: at least one of each shard was acknowledged in a minute
        assert calm.value("heartbeat_latency_seconds_count") >= 2
        assert calm.value("heartbeat_latency_seconds_bucket", le="5") == calm.value("heartbeat_latency_seconds_count")
        assert 0 <= calm.value("last_frame_age_seconds") < 42
        assert calm.value("event_loop_lag_seconds_count") > 100
        assert calm.value("queue_events") == calm.value("queue_bytes") == calm.value("lanes_stalled") == 0
        assert calm.value("receiver_reachable") == 1

        town.bot.up = False
        await town.talk(3)
        broken = await scrape(pod)
        assert broken.value("receiver_reachable") == 0
        assert broken.value("queue_events") == 150
        assert broken.value("queue_bytes") > 150 * 100
        assert broken.value("queue_oldest_seconds") > 2
        assert broken.value("lane_stalls_total") == broken.value("lanes_stalled") == 2
        retries = broken.value("retries_total")
        assert retries == broken.value("requests_total", outcome="retry") > 2

        town.bot.up = True
        await town.talk(2)
        await world.clock.sleep(10)
        mended = await scrape(pod)
        assert mended.value("lanes_stalled") == mended.value("queue_events") == 0
        assert mended.value("lane_stalls_total") == 2, "a stall is counted when it begins"
        count = mended.value("delivery_latency_seconds_count")
        assert count == accepted + 250
        assert mended.value("delivery_latency_seconds_bucket", le="1") < count

    run_world(story, seed=3)


def test_drops_are_counted_by_name_and_reason() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 1, 1)
        pod.forward = contract.ForwardConfig(
            url="http://bot/events", queue=contract.QueueBounds(max_events=20, overflow="DropNewest")
        )
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        await world.clock.sleep(1)
        town.bot.up = False
        await town.talk(2)
        found = await scrape(pod)
        assert found.value("events_dropped_total", event="MESSAGE_CREATE", reason="queue full") == 80
        assert found.value("queue_events") == 20

    run_world(story)


def test_what_never_comes_is_counted_and_not_only_finished() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 1, 1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        (session,) = town.discord.sessions.values()
        session.spoiled = {session.sequence + 1}
        session.dispatch("TYPING_START", {})
        await town.talk(1)
        await world.until(lambda: len(town.discord.resumes) == 1 and all_ready(pod), within=30)
        await world.clock.sleep(2)
        session.sequence += 3
        await town.talk(1)
        await world.clock.sleep(2)
        found = await scrape(pod)
        assert found.value("events_dropped_total", event="unknown", reason="unreadable") == 1
        assert found.value("events_lost_total") == 3
        assert found.value("queue_events") == found.value("sessions_lost_total") == 0
        assert sorted(town.bot.numbers) == list(range(town.sent)), "all others are delivered"
        (status,) = (await pod.pod.status()).shards if pod.pod is not None else ()
        assert status.sequence == status.watermark == session.sequence

    run_world(story)


def test_every_metric_is_declared_and_follows_the_conventions() -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(0.5)
    measures = Measures(histograms={f.histogram: histogram.counts() for f in FAMILIES if f.histogram is not None})
    status = contract.PodStatus(
        generation=1, pod=0, pod_uid="uid", role=contract.Role.ACTIVE, record_epoch=1, shards=[]
    )
    found = Scrape(render_metrics(status, measures, gateway='a "gate"\\way\n'))
    assert len(found.families) == len(FAMILIES) == len({family.name for family in FAMILIES})
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        if family.kind == "histogram":
            assert family.name.endswith(("_seconds", "_events")), "a histogram names its unit"
        assert "milliseconds" not in family.name, "Prometheus counts in seconds"
        parsed = found.families[PREFIX + family.name.removesuffix("_total")]
        assert (parsed.type, parsed.documentation) == (family.kind, family.help)
        for sample in parsed.samples:
            assert sample.labels.pop("gateway") == 'a "gate"\\way\n'
            assert set(sample.labels) - {"generation", "le"} <= set(family.labels)


def test_the_page_lists_exactly_the_metrics_that_there_are() -> None:
    rows = [
        f"| `{PREFIX}{family.name}` | {family.kind} | {', '.join(family.labels)} | {family.help} |"
        for family in FAMILIES
    ]
    page = PAGE.read_text().splitlines()
    listed = [line for line in page if line.startswith(f"| `{PREFIX}") and "_operator_" not in line.split("|")[1]]
    assert listed == rows, "\n".join(["docs/metrics.md must have these rows:", *rows])


def test_what_a_crashed_worker_has_counted_stays_counted() -> None:
    async def story(world: World) -> None:
        counted = 7

        async def worker(message: ToWorker) -> FromWorker:
            if not isinstance(message, AskStatus):
                return Done()
            lag = HistogramCounts(bounds=[1.0], counts=[counted, 0], sum=0.5)
            return WorkerStatus(
                shards=[],
                queued=0,
                oldest_seconds=0.0,
                receiver=contract.ReceiverStatus(),
                handover=None,
                counters={"accepted": counted},
                measures=Measures(
                    counters={"received": {"TYPING_START": counted}},
                    gauges={"queueBytes": {ALONE: counted}},
                    histograms={"lag": lag},
                ),
            )

        pod = Pod(
            config=configuration(),
            forward=contract.ForwardConfig(url="http://bot"),
            secrets=Secrets(token="token", operator="operator", bot=None),
            pod=0,
            pod_uid="uid",
            state=Path("/state"),
            clock=world.clock,
            disk=VirtualDisk(),
            log=logging.getLogger("test"),
        )
        pod.attach(0, DirectLink(worker), pod.begin(0))
        await pod.tick()
        pod.detach(0)
        gone = Scrape(render_metrics(pod.last_status(), pod.measures(), gateway="bot"))
        assert gone.value("events_received_total", event="TYPING_START") == 7
        pod.attach(0, DirectLink(worker), pod.begin(0))
        counted = 2
        between = Scrape(render_metrics(pod.last_status(), pod.measures(), gateway="bot"))
        assert between.value("events_received_total", event="TYPING_START") == 7, "a counter never goes back"
        assert between.value("queue_bytes") == 0
        await pod.tick()
        again = Scrape(render_metrics(pod.last_status(), pod.measures(), gateway="bot"))
        assert again.value("events_received_total", event="TYPING_START") == 9
        assert again.value("events_accepted_total") == 9
        assert again.value("event_loop_lag_seconds_count") == 9
        assert again.value("event_loop_lag_seconds_sum") == 1
        assert again.value("queue_bytes") == 2
        assert again.value("worker_restarts_total") == 1

    run_world(story)


def test_names_and_codes_from_discord_are_bounded() -> None:
    meter = ShardMeter()
    for number in range(5000):
        meter.received([f"EVENT_{number}", "MESSAGE_CREATE", "not a name\n"])
    for code in (4004, 4999, 65535, 1006, None):
        meter.closed(code)
    measures = meter.measures(wire=3, compressed=False)
    received = measures.counter("received")
    assert len(received) <= MOST_NAMES
    assert received["MESSAGE_CREATE"] == 5000
    assert "not a name\n" not in received
    assert sum(received.values()) == 15_000
    assert measures.counter("closes") == {"4004": 1, "other": 2, "1006": 1, "none": 1}


@pytest.mark.parametrize("bounds", [[1.0], [1.0, 3.0]])
def test_histograms_of_workers_add_up(bounds: list[float]) -> None:
    one, two = Histogram((1.0, 2.0)), Histogram(bounds)
    one.observe(0.5, 3)
    one.observe(9.0)
    two.observe(0.5)
    both = merged((Measures(histograms={"x": one.counts()}), Measures(histograms={"x": two.counts()})))
    assert both.histograms["x"] == one.counts(), "classes that differ are not mixed"
    doubled = merged((Measures(histograms={"x": one.counts()}), Measures(histograms={"x": one.counts()})))
    assert doubled.histograms["x"] == HistogramCounts(bounds=[1.0, 2.0], counts=[6, 0, 2], sum=21.0)
