"""What the plain alignment promises over a whole cutover, for any streams within its bounds, and beyond them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard_runtime.contract import HandoverReply, HandoverRequest, shard_of_guild
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, PlainAlignment
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.holding import Held
from shard_runtime.handover.window import Window
from tests.handover.streams import COMMIT_AT, GUILDS, HOLD_FROM, NEW_COUNT, OLD, Outcome, Pace, Sent, body, run

END = 30_000


def streams(*, old_delay: int, new_delay: int) -> st.SearchStrategy[list[Sent]]:
    """Events of a few guilds, most of them around the seals, with delays up to the given ones (FIFO per guild)."""
    event = st.builds(
        Sent,
        at=st.one_of(st.integers(0, END), st.integers(COMMIT_AT - 1_000, COMMIT_AT + 4_000)),
        guild=st.sampled_from(GUILDS),
        unique=st.booleans(),
        kind=st.integers(0, 2),
        old_delay=st.integers(0, old_delay),
        new_delay=st.integers(0, new_delay),
    )
    return st.lists(event, max_size=120).map(lambda events: sorted(events, key=lambda event: event.at))


PACES = st.builds(
    Pace,
    seals=st.fixed_dictionaries(
        {0: st.integers(COMMIT_AT, COMMIT_AT + 3_000), 1: st.integers(COMMIT_AT, COMMIT_AT + 3_000)}
    ),
    acknowledged_after=st.dictionaries(st.sampled_from(GUILDS), st.integers(0, 5_000)),
    answer_delay=st.integers(0, 500),
    skew=st.integers(-100, 100),
)


def check_bookkeeping(events: Sequence[Sent], pace: Pace, outcome: Outcome) -> None:
    """What holds whatever the delays are."""
    assert sorted(outcome.finished) == sorted(outcome.offered), "each event comes back once: delivered or skipped"
    for guild in GUILDS:
        order = [event for event, _, _ in outcome.delivered if events[event].guild == guild]
        assert order == sorted(order), "a guild's order is kept"
        pod = OLD.pod_of(shard_of_guild(guild, OLD.count))
        free = pace.seals[pod] + pace.acknowledged_after.get(guild, 0)
        assert all(at >= free for event, _, at in outcome.delivered if events[event].guild == guild), (
            "a guild is released only when its old pod is sealed and has its events acknowledged"
        )
    cutover = outcome.cutover
    assert cutover is not None
    assert cutover.complete
    assert cutover.held == cutover.held_bytes == 0
    status = cutover.status()
    assert (status.sealed_pods, status.waiting_pods, status.held_guilds) == (2, 0, 0)
    assert status.delivered_marked == sum(marked for _, marked, _ in outcome.delivered)


@settings(max_examples=300, deadline=None)
@given(events=streams(old_delay=500, new_delay=500), pace=PACES)
def test_nothing_is_lost_and_no_duplicate_is_unmarked_within_the_margin(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.lost == set()
    assert outcome.duplicates(marked=False) == set()
    assert not any(events[event].unique for event in outcome.duplicates(marked=True)), "an id of its own is proof"


@settings(max_examples=150, deadline=None)
@given(events=streams(old_delay=500, new_delay=1_800), pace=PACES)
def test_a_lagging_new_side_changes_nothing_within_the_margin(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.lost == set()
    assert outcome.duplicates(marked=False) == set()


@settings(max_examples=150, deadline=None)
@given(events=streams(old_delay=6_000, new_delay=500), pace=PACES)
def test_a_stalled_old_session_loses_no_event_that_has_an_id(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert not {event for event in outcome.lost if events[event].unique and events[event].at > 6_000}
    assert not any(events[event].unique for event in outcome.duplicates(marked=False))


def test_a_busy_guild_with_equal_bodies_across_the_seal() -> None:
    """The case that a seen-set gets wrong: the same body again and again, before and after the seal."""
    events = [Sent(at, GUILDS[0], False, 0, at * 7 % 400, at * 13 % 400) for at in range(2_000, END, 50)]
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={GUILDS[0]: 700})
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.lost == set()
    assert outcome.duplicates(marked=False) == set()
    assert 0 < len(outcome.duplicates(marked=True)) <= (2_000 + 400) // 50
    assert outcome.cutover is not None
    assert 700 <= outcome.cutover.status().longest_pause_milliseconds <= 900


def test_the_harness_sees_what_a_seen_set_and_a_flip_do() -> None:
    """The measure is worth something only if it reports what wrong alignments lose and double."""
    events = [Sent(at, GUILDS[0], at % 100 == 0, 0, at * 7 % 400, at * 13 % 400) for at in range(2_000, END, 50)]
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={})

    class SeenSet(PlainAlignment):
        def feed(self, event: Arrived) -> Sequence[Decision]:
            return [Decision.SKIP if self.feed_plainly(event) else Decision.DELIVER]

        def feed_plainly(self, event: Arrived) -> bool:
            (decision,) = super().feed(event)
            return decision is not Decision.DELIVER

    class Flip(PlainAlignment):
        def __init__(self, evidence: Evidence) -> None:
            super().__init__(evidence)
            self._sealed_at = evidence.sealed_at

        def feed(self, event: Arrived) -> Sequence[Decision]:
            return [Decision.SKIP if event.arrival < self._sealed_at else Decision.DELIVER]

    assert run(events, pace, align=SeenSet).lost
    flipped = run(events, pace, align=Flip)
    assert flipped.lost or flipped.duplicates(marked=False)


@pytest.mark.parametrize("commit_heard_after", [0, 30_000])
def test_news_of_the_commit_that_comes_a_minute_late_loses_nothing(commit_heard_after: int) -> None:
    """A sibling seals the old pod; this worker hears of the commit long after its window would have slid on."""
    events = [Sent(at, GUILDS[0], True, 0, 100, 100) for at in range(HOLD_FROM, 60_000, 100)]
    pod = OLD.pod_of(shard_of_guild(GUILDS[0], OLD.count))
    sealed_at = 20_000
    cutover = Cutover(count=NEW_COUNT, shards=range(NEW_COUNT), predecessor=OLD)
    window = Window(since=0, overlap_seconds=10)
    delivered: list[int] = []
    skipped: list[Held] = []
    for number, event in enumerate(events):
        name, payload = body(number, event)
        arrival = event.at + 100
        if arrival < sealed_at:
            window.record(event.guild, name, payload, arrival)
            if arrival % 1000 == 0:
                skipped += cutover.unsealed(pod, arrival).skip
        shard = shard_of_guild(event.guild, NEW_COUNT)
        skipped += cutover.offer(Held(shard, "s", number + 1, name, payload, event.guild, arrival)).skip
        if arrival == sealed_at + commit_heard_after:
            assert cutover.commit(arrival).deliver == []
            request = HandoverRequest(generation=2, count=NEW_COUNT, shards=list(range(NEW_COUNT)))
            reply = HandoverReply(
                generation=1, pod_uid="old", sealed_at=sealed_at, recorded_since=0, windows=window.export(request)
            )
            step = cutover.sealed(pod, reply, arrival)
            delivered += [event.sequence - 1 for event, marked in step.deliver if not marked]
            skipped += step.skip
            break
    assert delivered == [
        number for number, event in enumerate(events) if sealed_at <= event.at + 100 <= sealed_at + commit_heard_after
    ]
