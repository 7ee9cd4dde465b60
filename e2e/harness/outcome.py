"""How a test under load begins and what must be true at its end."""

from __future__ import annotations

from typing import Any, Final

from discord_simulator.verdict import Verdict
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene

RATE: Final = 200
"""Events per second."""

FIRST: Final = 4
"""Shards of the example's gateway."""

TWO_PODS: Final[dict[str, Any]] = {"count": 8, "perWorker": 2, "workersPerPod": 2}
"""Eight shards in two pods."""


def begin(scene: Scene, *, rate: float = RATE, **spec: Any) -> None:
    """The example's gateway, four shards unless *spec* says otherwise, READY and under load."""
    scene.apply_gateway(**spec)
    scene.wait_ready()
    scene.load(rate)
    scene.wait_events(round(rate))


def end(scene: Scene, *, least: int = RATE) -> Verdict:
    """Stop the load; nothing may be lost, and no guild's events out of order."""
    scene.load(0)
    verdict = scene.verdict()
    assert verdict.sent > least
    assert verdict.lost == 0, verdict
    assert verdict.stream_violations == 0, verdict
    return verdict


def assert_sessions(scene: Scene, *, shards: int, identifies: int) -> None:
    """All sessions are connected, no others are, and *identifies* were spent, none too early."""
    truth = scene.truth()
    connected = {count: sessions for count, sessions in truth["sessions"].items() if sessions["connected"]}
    assert connected == {str(shards): {"sessions": shards, "connected": shards, "shards": shards}}
    assert truth["counters"]["identifiesAccepted"] == identifies
    assert truth["counters"]["bucketViolations"] == 0
    assert truth["counters"]["budgetOverruns"] == 0


def assert_nothing_happened(scene: Scene, *, shards: int, identifies: int) -> None:
    """The same sessions all along: everything was delivered, once."""
    verdict = end(scene)
    assert verdict.duplicated == 0, verdict
    assert_sessions(scene, shards=shards, identifies=identifies)


def assert_handed_over(scene: Scene, *, generation: int, shards: int, identifies: int, ended: int = FIRST) -> None:
    """Generation *generation* delivers, alone, and the bot got everything once, or marked; *ended* sessions were ended
    by their pods."""
    status = scene.wait_generation(generation)
    scene.wait_ready()
    assert status["shards"] == shards
    assert scene.kubectl.names("statefulsets", selector=GATEWAY_LABEL) == {f"{GATEWAY}-g{generation}"}
    scene.wait_events(RATE)
    headers = scene.received()["lastHeaders"]
    assert (headers["x-gateway-generation"], headers["x-gateway-shards"]) == (str(generation), str(shards))

    # Order holds within a guild. Across the guilds of a shard it cannot, since each moves when it is ready.
    verdict = end(scene)
    # An event that repeats with an identical body may arrive twice at the cutover, and then says so.
    assert verdict.duplicated_unmarked == 0, verdict
    assert_sessions(scene, shards=shards, identifies=identifies)
    # 1000 ends a session at Discord; nothing but generations that are over is to end
    assert scene.truth()["counters"]["closedByClient"].get("1000") == ended
