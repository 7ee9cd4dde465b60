"""The operator's metrics, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gateway_operator.cluster.port import ClusterError, Kind, Manifest
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.control_plane import ControlPlane
from gateway_operator.web.metrics import Histogram, Metric, Sample, render
from prometheus_client.parser import text_string_to_metric_families

from shard_runtime.contract import HeldBack, PermitWait

if TYPE_CHECKING:
    from conftest import World

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
LINE = re.compile(r'^[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|\+Inf)$')


def scrape(plane: ControlPlane) -> dict[str, float]:
    """Samples by name and labels, without the operator's prefix."""
    found = {}
    for line in render(plane.metrics()).splitlines():
        if not line.startswith("#"):
            assert LINE.match(line), line
            name, _, value = line.rpartition(" ")
            found[name.removeprefix("discord_gateway_operator_")] = float(value)
    return found


def test_the_text_is_what_prometheus_reads() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    metrics = [
        Metric.single("a_total", "counter", "A.", 2),
        Metric("b", "gauge", "B.", (Sample(0.25, {"x": 'say "hi"\\\n'}),)),
        Metric("c_seconds", "histogram", "C.", tuple(histogram.samples({"o": "k"}))),
    ]
    assert render(metrics).splitlines() == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        "a_total 2",
        "# HELP b B.",
        "# TYPE b gauge",
        'b{x="say \\"hi\\"\\\\\\n"} 0.25',
        "# HELP c_seconds C.",
        "# TYPE c_seconds histogram",
        'c_seconds_bucket{o="k",le="0.1"} 2',
        'c_seconds_bucket{o="k",le="1"} 3',
        'c_seconds_bucket{o="k",le="+Inf"} 4',
        'c_seconds_sum{o="k"} 7.65',
        'c_seconds_count{o="k"} 4',
    ]


async def test_a_gateway_and_its_reshard_are_measured(world: World) -> None:
    world.apply()
    plane = world.operator()
    reconciler = plane.fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    gateway = '{namespace="default",gateway="bot"}'
    before = scrape(plane)
    assert before[f"shards{gateway}"] == before[f"ready_shards{gateway}"] == 4
    assert before[f"generations{gateway}"] == 1
    assert before[f"identify_budget_remaining{gateway}"] == 999, "one may have been given before this operator began"
    assert before['condition{namespace="default",gateway="bot",condition="Ready"}'] == 1
    assert before['condition{namespace="default",gateway="bot",condition="Degraded"}'] == 0
    assert before['reshard_seconds_count{outcome="Completed"}'] == 0
    assert before['reshard_seconds_count{outcome="Stalled"}'] == 0, "there from the start, to be alerted on"
    assert before["leader"] == 1
    passes = before["reconcile_seconds_count"]
    assert passes > 0

    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    assert await world.passes(reconciler, until=lambda: world.generations() == [1, 2])
    await world.passes(reconciler, seconds=2)
    assert scrape(plane)[f"resharding{gateway}"] == 1
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])
    await world.passes(reconciler, seconds=3)
    after = scrape(plane)
    assert after['reshard_seconds_count{outcome="Completed"}'] == 1
    assert 4 < after['reshard_seconds_sum{outcome="Completed"}'] < 60
    assert after[f"shards{gateway}"] == 8
    past = world.gateway()["status"]["history"][0]
    reshard = 'namespace="default",gateway="bot"'
    assert after[f'last_reshard_duration_seconds{{{reshard},part="all"}}'] == past["durationSeconds"]
    assert after[f'last_reshard_duration_seconds{{{reshard},part="identify_limit"}}'] == past["identifyLimitSeconds"]
    assert after[f'last_reshard_guilds{{{reshard},result="aligned"}}'] == past["aligned"]
    assert after[f'last_reshard_pause_seconds{{{reshard},quantile="0.99"}}'] == past["pauseP99Milliseconds"] / 1000
    assert after["reconcile_seconds_count"] > passes

    world.clock.seconds += 100
    assert scrape(plane)[f"last_reconcile_age_seconds{gateway}"] >= 100
    await plane.fleet.clean_up("default", "bot")
    assert f"shards{gateway}" not in scrape(plane), "what is gone is not measured"


async def test_what_holds_identifies_back_can_be_alerted_on(world: World) -> None:
    world.apply()
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")
    series = 'identifies_held{namespace="default",gateway="bot",reason="pace"}'
    assert scrape(plane)[series] == 0
    client = plane.clients.get("default", "bot")
    assert client is not None
    wait = PermitWait(retry_after_milliseconds=1000, reason="", held=HeldBack.PACE.value)
    assert plane.clients.answered(client, wait), "a pass is asked for"
    await world.passes(plane.fleet.reconciler, seconds=1)
    assert scrape(plane)[series] == 1
    assert world.condition("Degraded")[:2] == ("True", "IdentifyBudgetAtRisk")
    await world.passes(plane.fleet.reconciler, seconds=60)
    assert scrape(plane)[series] == 0
    assert world.condition("Degraded")[0] == "False"


async def test_the_page_lists_exactly_the_metrics_that_there_are(world: World) -> None:
    world.apply()
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")
    metrics = list(plane.metrics())
    for metric in metrics:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        for sample in metric.samples:
            assert tuple(label for label in sample.labels if label != "le") == metric.labels, metric.name
    parsed = {family.name: family for family in text_string_to_metric_families(render(metrics))}
    assert [(family.type, family.documentation) for family in parsed.values()] == [(m.kind, m.help) for m in metrics]
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in metrics]
    listed = [row for row in PAGE.read_text().splitlines() if row.startswith("| `discord_gateway_operator_")]
    assert listed == rows, "\n".join(["docs/metrics.md must have these rows:", *rows])


async def test_failed_passes_are_counted(world: World) -> None:
    class Away(StoreCluster):
        async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
            failed.set()
            raise ClusterError("away")

    failed = asyncio.Event()
    world.apply()
    plane = world.operator(Away(world.store))
    plane.fleet.add("default", "bot")
    await asyncio.wait_for(failed.wait(), 10)
    await plane.fleet.stop()
    assert scrape(plane)["reconcile_errors_total"] == 1
