"""Two operators: one leads, and what becomes of it decides how soon the other one does."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from harness.kubectl import wait_until
from harness.outcome import RATE, assert_handed_over, begin, end
from harness.scene import GATEWAY, Scene
from harness.system import System, acquired_at, holder

CRASH_SECONDS = 15.0
STOP_SECONDS = 3.0
SHORT = {"overlapSeconds": 5}


@pytest.fixture(scope="module", autouse=True)
def two_operators(system: System) -> Iterator[None]:
    system.double()
    yield
    system.single()


def test_the_other_operator_leads_within_15_s_of_a_crash_and_works(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    leader = holder(scene.system.wait_leader())
    # a process that is stopped like this does not release the Lease, whatever it is told before its end
    crashed_at = scene.system.signal(leader, signal.SIGSTOP)
    scene.system.kubectl.run("delete", "pod", leader, "--grace-period=0", "--force", "--wait=false")
    lease = scene.system.wait_leader(other_than=leader)
    assert 0 < acquired_at(lease) - crashed_at <= CRASH_SECONDS
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_the_other_operator_leads_within_3_s_of_a_stop(scene: Scene) -> None:
    begin(scene)
    leader = holder(scene.system.wait_leader())
    stopped_at = scene.system.signal(leader, signal.SIGTERM)
    lease = scene.system.wait_leader(other_than=leader)
    assert 0 < acquired_at(lease) - stopped_at <= STOP_SECONDS
    assert end(scene, least=RATE // 2).duplicated == 0
    scene.fault("kill", shard=0)  # a session that is gone: a new one needs a permit of the new leader
    wait_until("shard 0 anew", lambda: scene.identifies() == 4 + 1, seconds=60)
    scene.wait_ready()


def test_a_leader_that_hung_changes_nothing_when_it_goes_on(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    leader = holder(scene.system.wait_leader())
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    scene.wait_condition("Resharding", "True", reason="Connecting")
    hung_at = scene.system.signal(leader, signal.SIGSTOP)
    try:
        lease = scene.system.wait_leader(other_than=leader)
        assert 0 < acquired_at(lease) - hung_at <= CRASH_SECONDS
    finally:
        scene.system.signal(leader, signal.SIGCONT)
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)
    assert holder(scene.system.lease()) == holder(lease)
