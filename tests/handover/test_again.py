"""What a resume brings again after a restart, all at once: its times tell little, and nothing of it may be lost."""

from __future__ import annotations

from shard_runtime.contract import GuildWindow, HandoverReply, ShardLayout, WindowEvent, decode, encode
from shard_runtime.handover.alignment import Arrived, Decision
from shard_runtime.handover.holding import Held
from shard_runtime.handover.keys import Place
from shard_runtime.handover.lags import Bounds
from shard_runtime.handover.old_pod import Known, OldPod
from shard_runtime.handover.repair import Repair

BOUNDS = Bounds(least=-500, most=500, stalled=-500, samples=100)
KEY = 7
SEALED = 10_000


def again(count: int) -> list[Arrived]:
    """As many equal events, brought again one after the other a second after the seal."""
    return [Arrived(key=KEY, unique=False, arrival=SEALED + 1000 + n, earliest=0, replayed=True) for n in range(count)]


def accepted(*times: int) -> list[WindowEvent]:
    return [WindowEvent(key=KEY, arrival=at, unique=False) for at in times]


def test_of_equal_events_that_come_again_the_earliest_are_the_copies() -> None:
    repair = Repair(
        accepted=accepted(9700, 9710),
        after=(),
        arrived=again(4),
        zone=9400,
        fence=SEALED,
        since=5000,
        bounds=BOUNDS,
    )
    decisions = repair.decisions()
    assert decisions[:2] == [Decision.SKIP, Decision.SKIP]
    assert Decision.SKIP not in decisions[2:]


def test_a_restart_remembers_since_when_the_new_sessions_have_events() -> None:
    """Else what the old side accepted before is looked for among what came after the seal."""
    layout = ShardLayout(count=1, first=0, last=0, per_worker=1, workers_per_pod=1)
    reply = HandoverReply(
        generation=1,
        pod_uid="uid",
        sealed_at=SEALED,
        recorded_since=1000,
        windows=[GuildWindow(guild=1, channel=0, events=accepted(2000, 6000), latest=[])],
        unacknowledged=[],
    )
    before = OldPod(number=0, layout=layout, began={0: 5000})
    known = before.measure(reply, SEALED, None)
    after = OldPod(number=0, layout=layout, began={})
    after.seal(reply, SEALED, known=decode(encode(known), Known), found=())
    event = Held(0, "s", 9, "WEBHOOKS_UPDATE", b"", Place(1, 0), KEY, False, None, SEALED + 1000, replayed=True)
    assert after._evidence(event).held_since == 5000
