"""The cutover's state machine, step by step."""

from __future__ import annotations

import pytest

from shard_runtime.contract import GuildWindow, HandoverReply, HandoverStatus, ShardLayout, WindowEvent
from shard_runtime.handover.cutover import HEAR_MILLISECONDS, Cutover
from shard_runtime.handover.holding import Held, held
from shard_runtime.handover.keys import event_key
from shard_runtime.handover.steps import Step

OLD = ShardLayout(count=2, first=0, last=1, per_worker=1, workers_per_pod=1)
GUILD_0, GUILD_1 = 2 << 22, 1 << 22
NOW = 100_000


def message(number: int, guild: int, arrival: int) -> Held:
    payload = f'{{"t":"MESSAGE_CREATE","s":{number},"op":0,"d":{{"id":"{number}","guild_id":"{guild}"}}}}'.encode()
    return held(shard=0, count=1, session="s", sequence=number, name="MESSAGE_CREATE", payload=payload, arrival=arrival)


def numbers(step: Step) -> list[int]:
    return [event.sequence for event, _ in step.deliver]


def reply(**fields: object) -> HandoverReply:
    defaults: dict[str, object] = {"generation": 1, "pod_uid": "u", "sealed_at": NOW, "recorded_since": NOW - 8_000}
    return HandoverReply(**{**defaults, **fields})  # type: ignore[arg-type]


def cutover(**options: object) -> Cutover:
    return Cutover(count=1, shards=[0], predecessor=OLD, **options)  # type: ignore[arg-type]


def hear_all(state: Cutover, now: int) -> None:
    for pod in state.to_hear:
        state.heard(pod, [], now)


def test_a_stream_that_ends_in_an_event_without_an_id_waits_for_what_followed_the_seal() -> None:
    state = cutover()
    old, new = message(1, GUILD_0, NOW - 500), message(2, GUILD_0, NOW + 100)
    webhook = [
        held(
            shard=0,
            count=1,
            session="s",
            sequence=number,
            name="WEBHOOKS_UPDATE",
            payload=b'{"d":{"guild_id":"%d"}}' % GUILD_0,
            arrival=NOW + at,
        )
        for number, at in ((10, -100), (11, 50))
    ]
    for event in (old, *webhook, new):
        state.offer(event)
    accepted = [WindowEvent(key=event.key, arrival=event.arrival, unique=event.unique) for event in (old, webhook[0])]
    after = [WindowEvent(key=event.key, arrival=event.arrival, unique=event.unique) for event in (webhook[1], new)]
    state.commit(NOW)
    assert numbers(state.sealed(0, reply(windows=[GuildWindow(guild=GUILD_0, events=accepted)]), NOW + 10)) == []
    assert state.to_hear == [0]
    step = state.heard(0, [GuildWindow(guild=GUILD_0, events=after)], NOW + 320)
    assert numbers(step) == [11, 2]
    assert [event.sequence for event in step.skip] == [1, 10]


def test_it_says_what_waits_for_its_place_and_which_copies_have_not_come() -> None:
    state = cutover()
    anchor, waits, missing = (message(number, GUILD_0, NOW - 500 + number) for number in (1, 2, 3))
    webhook = held(
        shard=0,
        count=1,
        session="s",
        sequence=4,
        name="WEBHOOKS_UPDATE",
        payload=b'{"d":{"guild_id":"%d"}}' % GUILD_1,
        arrival=NOW - 100,
    )
    for event in (anchor, waits, webhook):
        state.offer(event)
    state.commit(NOW)

    def accepted(*events: Held) -> list[WindowEvent]:
        return [WindowEvent(key=event.key, arrival=event.arrival, unique=event.unique) for event in events]

    windows = [GuildWindow(guild=GUILD_0, events=accepted(anchor, waits, missing, webhook))]
    state.sealed(0, reply(windows=windows), NOW + 10)
    state.sealed(1, reply(windows=[GuildWindow(guild=GUILD_1, events=accepted(webhook))]), NOW + 10)
    hear_all(state, NOW + 20)
    assert state.complete
    assert state.undecided() == {"s": [1, 2, 4]}, "the tail of the one has not come, the seal of the other not passed"
    assert state.late() == {0: [missing.key, webhook.key]}
    state.tick(NOW + 60_000)
    assert state.undecided() == {"s": [1, 2]}


def test_an_old_pod_that_cannot_say_what_followed_the_seal_is_not_waited_for_long() -> None:
    state = cutover()
    state.commit(NOW)
    state.sealed(0, reply(), NOW)
    state.sealed(1, reply(), NOW)
    state.tick(NOW + HEAR_MILLISECONDS)
    assert state.to_hear == [0, 1]
    state.tick(NOW + HEAR_MILLISECONDS + 1)
    assert state.complete


def rehearsed(state: Cutover, *, common: float, now: int = NOW) -> HandoverStatus:
    """Rehearse with both old pods, where this part of the guilds has an event in common with them."""
    for pod in (0, 1):
        windows = []
        for number in range(20):
            guild = (2 * (number + 1) + pod) << 22
            ours = message(number + 1, guild, now - 4_000)
            theirs = ours if number < 20 * common else message(number + 1_000, guild, now - 4_000)
            state.offer(ours)
            windows.append(
                GuildWindow(guild=guild, events=[WindowEvent(key=theirs.key, arrival=now - 4_070, unique=True)])
            )
        state.rehearse(pod, reply(sealed_at=None, windows=windows), now)
    return state.status()


@pytest.mark.parametrize(("common", "fits"), [(1.0, True), (0.9, True), (0.85, False), (0.0, False)])
def test_a_rehearsal_fits_when_almost_all_guilds_have_an_event_in_common(common: float, fits: bool) -> None:
    state = cutover()
    state.begins(0, NOW - 9_000)
    status = rehearsed(state, common=common)
    assert status.rehearsed is fits
    assert (status.rehearsal_problem is None) is fits
    if common:
        assert (status.lag_least_milliseconds, status.lag_most_milliseconds) == (70, 70)
    assert state.held == 40, "it has no effect"


def test_nothing_is_rehearsed_before_every_session_has_been_up_for_a_while() -> None:
    state = cutover()
    assert not rehearsed(state, common=1.0).rehearsed
    state.begins(0, NOW - 4_000)
    status = rehearsed(state, common=1.0)
    assert status.rehearsal_problem == "Both sides have recorded the same events for 4 s only."
    assert not cutover().status().rehearsed


def test_nothing_is_rehearsed_while_an_old_session_may_lack_what_came_before_ours_began() -> None:
    state = cutover()
    state.begins(0, NOW - 9_000)
    for pod in (0, 1):
        state.unsealed(pod, NOW, behind=6_000)
    problem = rehearsed(state, common=1.0).rehearsal_problem
    assert problem is not None and problem.startswith("An old session has not been heard for 6 s;")
    for pod in (0, 1):
        state.unsealed(pod, NOW, behind=1_000)
    assert rehearsed(state, common=1.0).rehearsed
    state.unsealed(1, NOW, behind=20_000)
    assert not state.status().rehearsed


def test_a_session_that_begins_again_wants_another_rehearsal() -> None:
    state = cutover()
    state.begins(0, NOW - 9_000)
    assert rehearsed(state, common=1.0).rehearsed
    state.begins(0, NOW)
    assert not state.status().rehearsed


def test_standby_keeps_what_an_old_session_that_is_silent_may_not_have_got() -> None:
    state = cutover(overlap_seconds=10.0)
    for second in range(60):
        state.offer(message(second + 1, GUILD_0, second * 1000))
    assert [event.sequence for event in state.unsealed(0, 60_000, behind=25_000).skip] == list(range(1, 26))
    assert state.held == 35, "from 10 s before the moment up to which it had everything"


def test_it_asks_only_the_old_pods_that_can_have_its_guilds() -> None:
    old = ShardLayout(count=8, first=0, last=7, per_worker=1, workers_per_pod=2)
    assert Cutover(count=16, shards=[1, 9], predecessor=old).old_pods == [0]
    assert Cutover(count=16, shards=[2, 6], predecessor=old).old_pods == [1, 3]
    assert Cutover(count=7, shards=[0], predecessor=old).old_pods == [0, 1, 2, 3]


def test_nobody_is_asked_to_seal_before_the_commit() -> None:
    state = cutover()
    assert state.to_seal == []
    with pytest.raises(ValueError, match="before the commit"):
        state.sealed(0, reply(), NOW)
    state.commit(NOW)
    assert state.to_seal == [0, 1]
    assert not state.complete


def test_each_old_pod_releases_its_own_guilds() -> None:
    state = cutover()
    state.offer(message(1, GUILD_0, NOW - 100))
    state.offer(message(2, GUILD_1, NOW - 90))
    state.commit(NOW)
    assert numbers(state.sealed(0, reply(), NOW + 50)) == [1]
    assert state.to_seal == [1]
    assert numbers(state.offer(message(3, GUILD_1, NOW + 60))) == []
    assert numbers(state.offer(message(4, GUILD_0, NOW + 70))) == [4]
    assert state.status().held_guilds == 1
    assert numbers(state.sealed(1, reply(), NOW + 400)) == [2, 3]
    hear_all(state, NOW + 400)
    assert state.complete
    assert state.status().longest_pause_milliseconds == 400
    assert state.status().released_guilds == 2


def test_a_guild_waits_until_the_old_pod_has_its_events_acknowledged() -> None:
    state = cutover()
    state.offer(message(1, GUILD_0, NOW))
    state.offer(message(2, 0, NOW))
    state.commit(NOW)
    assert numbers(state.sealed(0, reply(unacknowledged=[GUILD_0]), NOW)) == [2]
    state.sealed(1, reply(), NOW)
    assert state.to_await == [0]
    assert not state.complete
    assert numbers(state.acknowledged(0, [GUILD_0], NOW)) == []
    assert numbers(state.acknowledged(0, [], NOW + 900)) == [1]
    assert not state.complete
    hear_all(state, NOW + 900)
    assert state.complete
    assert state.to_await == []


def test_a_repeated_seal_changes_nothing() -> None:
    state = cutover()
    state.commit(NOW)
    state.sealed(0, reply(), NOW)
    state.offer(message(1, GUILD_1, NOW))
    state.sealed(0, reply(unacknowledged=[GUILD_0]), NOW)
    assert numbers(state.offer(message(2, GUILD_0, NOW))) == [2]


def test_what_the_old_pod_accepted_is_skipped_for_a_minute_after() -> None:
    state = cutover()
    late = message(7, GUILD_0, NOW + 30_000)
    key, unique = event_key(late.name, late.payload)
    window = GuildWindow(guild=GUILD_0, events=[WindowEvent(key=key, arrival=NOW - 10, unique=unique)])
    state.commit(NOW)
    state.sealed(0, reply(windows=[window]), NOW)
    state.sealed(1, reply(), NOW)
    hear_all(state, NOW)
    assert state.offer(late).skip == [late]
    assert not state.is_over(NOW + 60_000)
    assert state.is_over(NOW + 60_001)
    state.tick(NOW + 60_001)
    assert numbers(state.offer(message(8, GUILD_0, NOW + 60_002))) == [8]
    assert state.status().skipped == 1


def test_after_an_old_pod_lost_its_state_everything_held_is_delivered_marked() -> None:
    state = cutover()
    state.offer(message(1, GUILD_0, NOW - 9_000))
    state.offer(message(2, GUILD_0, NOW))
    state.commit(NOW)
    step = state.sealed(0, reply(sealed_at=None, recorded_since=None), NOW + 10)
    assert [(event.sequence, marked) for event, marked in step.deliver] == [(1, True), (2, True)]
    assert [marked for _, marked in state.offer(message(3, GUILD_0, NOW + 1_000)).deliver] == [True]
    for number, at in ((4, 3_000), (5, 3_200), (6, 3_400)):
        marks = [marked for _, marked in state.offer(message(number, GUILD_0, NOW + at)).deliver]
        assert marks == [at < 3_400], "what comes right after a gap may be late"


def test_a_guild_that_no_old_pod_has_is_released_by_the_commit() -> None:
    part = ShardLayout(count=2, first=0, last=0)
    state = Cutover(count=1, shards=[0], predecessor=part)
    state.offer(message(1, GUILD_1, NOW - 9_000))
    state.offer(message(2, GUILD_0, NOW))
    assert [(event.sequence, marked) for event, marked in state.commit(NOW).deliver] == [(1, False)]
    assert numbers(state.offer(message(3, GUILD_1, NOW + 1))) == [3]
    assert numbers(state.offer(message(4, GUILD_0, NOW + 1))) == []
    assert state.commit(NOW + 5).deliver == []


def test_a_predecessor_without_any_guild_of_ours_completes_at_once() -> None:
    state = Cutover(count=2, shards=[1], predecessor=ShardLayout(count=2, first=0, last=0))
    state.commit(NOW)
    assert state.complete


def test_standby_trims_only_what_an_old_pod_says_that_it_had() -> None:
    state = cutover(overlap_seconds=10.0)
    for second in range(60):
        assert state.offer(message(second + 1, GUILD_0, second * 1000)).skip == []
    assert state.held == 60
    # 30 s ago it was not sealed: what came 10 s before that it has accepted, and nothing says so of later events
    assert [event.sequence for event in state.unsealed(0, 30_000).skip] == list(range(1, 21))
    assert state.offer(message(61, GUILD_0, 60_000)).skip == []
    state.commit(60_000)
    assert state.unsealed(0, 60_000).skip == []
    assert state.held == 41


def test_what_is_held_is_bounded_and_what_is_given_up_is_reported() -> None:
    state = cutover(max_events=50, max_bytes=1 << 20)
    given_up = []
    for number in range(1, 101):
        given_up += state.offer(message(number, GUILD_0 if number % 2 else GUILD_1, number)).overflowed
        assert state.held <= 50
    assert len(given_up) == state.overflowed == 50
    small = cutover(max_bytes=5_000)
    for number in range(1, 101):
        small.offer(message(number, GUILD_0, number))
        assert small.held_bytes <= 5_000


def test_nothing_waited_for_a_session_that_is_new() -> None:
    """One before it was lost in the window, a busy one: what comes after the gap between them is not late."""
    state = cutover()
    busy = [message(number, GUILD_0, NOW - 20_000 + 10 * number) for number in range(1, 1_000)]
    few = [message(number, GUILD_1, NOW - 6_000 + 100 * number) for number in range(1_000 - 940, 1_000)]
    for event in busy:
        state.offer(event)
    state.begins(0, NOW - 6_050)
    marked = []
    for event in few:
        marked += [event for event, mark in state.offer(event).deliver if mark]
        if event.arrival == NOW:
            state.commit(NOW)
            for pod in (0, 1):
                marked += [event for event, mark in state.sealed(pod, reply(), NOW).deliver if mark]
    assert state.status().released_guilds
    assert marked == []
