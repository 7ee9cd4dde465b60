"""What the exact alignment promises for one stream, for every history; the theorems of ``exact`` one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.exact import ExactAlignment
from shard_runtime.handover.lags import Bounds
from tests.handover.copies import (
    END,
    HELD_SINCE,
    SEAL,
    SINCE,
    Answered,
    Copies,
    Event,
    align,
    copies,
    lag_bounds,
    streams,
    with_common,
)

MANY = settings(max_examples=int(os.environ.get("HANDOVER_EXAMPLES", "150")), deadline=None)


def true_suffix(found: Copies) -> list[Event]:
    accepted = {event.number for event, _ in found.everything_old}
    return [event for event, _ in found.held if event.number not in accepted]


def common_unique(found: Copies) -> bool:
    held = {event.key for event, _ in found.held if event.unique}
    return any(event.key in held for event, _ in found.accepted if event.unique)


def exact(answered: Answered) -> None:
    assert [event.number for event in answered.delivered] == [event.number for event in true_suffix(answered.found)]
    assert answered.marked == []
    assert not answered.alignment.ambiguous


@MANY
@given(
    stream=with_common(streams(old_delay=10_000, new_delay=10_000, skew=10_000), held_since=-20_000),
    wider=st.integers(0, 500),
    since=st.integers(0, SINCE),
    heard=st.booleans(),
)
def test_one_common_event_with_an_id_makes_it_exact_at_any_lag(
    stream: list[Event], wider: int, since: int, heard: bool
) -> None:
    found = copies(stream, since=since, held_since=-20_000)
    assert common_unique(found)
    exact(align(found, lag_bounds(stream, wider=wider), since=since, held_since=-20_000, hears=heard))


@MANY
@given(
    stream=with_common(streams(old_delay=3_000, new_delay=3_000), held_since=0),
    least=st.integers(-5_000, 5_000),
    span=st.integers(0, 5_000),
)
def test_wrong_bounds_change_nothing_where_nothing_follows_the_common_event(
    stream: list[Event], least: int, span: int
) -> None:
    last = max((event for event in stream if SINCE <= event.old[0] < SEAL), key=lambda event: event.number)
    found = copies([replace(event, unique=True, key=998) if event is last else event for event in stream], held_since=0)
    # but that the seal has passed must not be thought while it has not
    most = max(least + span, last.new[0] - SEAL)
    exact(align(found, Bounds(least=least, most=most, stalled=least), held_since=0))


@MANY
@given(
    stream=with_common(streams(old_delay=3_000, new_delay=3_000), held_since=0),
    least=st.integers(-5_000, 5_000),
    span=st.integers(0, 5_000),
)
def test_wrong_bounds_lose_no_event_with_an_id(stream: list[Event], least: int, span: int) -> None:
    found = copies(stream, held_since=0)
    answered = align(found, Bounds(least=least, most=least + span, stalled=least), held_since=0)
    delivered = {event.number for event in answered.delivered}
    owed = {event.number for event in true_suffix(found) if event.unique}
    assert len(owed - delivered) <= answered.alignment.missed_by_old
    assert all(not event.unique for event in answered.delivered if event.old[0] < SEAL and event.old[0] >= SINCE)


@MANY
@given(stream=streams(unique=False), wider=st.integers(0, 300))
def test_without_any_id_nothing_is_lost_and_doubles_are_marked_and_few(stream: list[Event], wider: int) -> None:
    found = copies(stream)
    bounds = lag_bounds(stream, wider=wider)
    answered = align(found, bounds)
    delivered = [event.number for event in answered.delivered]
    owed = [event.number for event in true_suffix(found)]
    assert set(owed) <= set(delivered)
    doubled = [number for number in delivered if number not in set(owed)]
    assert set(doubled) <= {event.number for event in answered.marked}
    assert bool(doubled) <= answered.alignment.ambiguous
    within = [at for event, at in found.held if event.number in set(doubled)]
    assert not within or max(within) - min(within) <= bounds.span


@MANY
@given(stream=streams(unique=False, most=14), wider=st.integers(0, 300))
def test_without_any_id_a_silence_as_long_as_the_lags_span_makes_it_exact(stream: list[Event], wider: int) -> None:
    found = copies(stream)
    bounds = lag_bounds(stream, wider=wider)
    moments = [SINCE, *(at + 1 for _, at in found.accepted)]
    arrivals = [at for _, at in found.held]
    silent = [
        moment
        for moment in moments
        if moment + bounds.most < SEAL + bounds.least
        and not any(moment + bounds.least <= at <= moment + bounds.most for at in arrivals)
    ]
    assume(silent)
    # and what the silence parts must not fit elsewhere by being made of several silences of equal streams
    exact(align(found, bounds))


@MANY
@given(
    stream=streams(),
    pauses=st.lists(st.integers(HELD_SINCE, END + 2_000), max_size=10),
    heard_at=st.integers(SEAL + 301, SEAL + 2_000),
    released_at=st.integers(SEAL, SEAL + 300),
)
def test_no_answer_depends_on_when_the_alignment_is_asked(
    stream: list[Event], pauses: list[int], heard_at: int, released_at: int
) -> None:
    """Answers come in any chunks, and are the same as for the whole stream at once."""
    found = copies(stream)
    bounds = lag_bounds(stream)
    once = align(found, bounds)
    often = align(found, bounds, pauses=pauses, heard_at=heard_at)
    assert often.decisions == once.decisions
    for moment in (released_at, heard_at):
        at_once = align(
            found, bounds, pauses=[at for at in pauses if at > moment], heard_at=heard_at, released_at=moment
        )
        assert at_once.decisions == once.decisions
    for number in range(len(found.held)):
        prefix = Copies(found.accepted, found.after, found.held[:number], found.everything_old)
        settled = align(prefix, bounds, pauses=pauses, heard_at=heard_at)
        next_at = found.held[number][1]
        answered = [d for d, at in zip(settled.decisions, settled.decided_at, strict=True) if at < next_at]
        assert once.decisions[: len(answered)] == answered


def periodic(count: int, *, every: int, old_delay: int, new_delay: int, first: int) -> list[Event]:
    return [
        Event(number, at, 7, False, (at + old_delay,), (at + new_delay,))
        for number, at in enumerate(range(first, first + count * every, every))
    ]


def test_where_two_histories_look_the_same_the_earlier_end_is_taken_and_counted() -> None:
    """Equal events at a steady pace: the second history has one more event before, and its lag is longer by a pace."""
    one = periodic(80, every=200, old_delay=300, new_delay=100, first=8_000)
    other = periodic(80, every=200, old_delay=300, new_delay=300, first=7_800)
    found = copies(one)
    as_seen = ([at for _, at in found.accepted], [at for _, at in found.held])
    found_other = copies(other)
    assert as_seen == ([at for _, at in found_other.accepted], [at for _, at in found_other.held])
    wide = Bounds(least=-500, most=500, stalled=-500)
    answered = align(found, wide)
    assert answered.alignment.outcome is Outcome.AMBIGUOUS
    assert answered.alignment.ambiguous
    for history in (one, other):
        accepted = {event.number for event in history if event.old[0] < SEAL}
        delivered = {event.number for event in align(copies(history), wide).delivered}
        owed = {event.number for event in history if event.new[0] >= HELD_SINCE} - accepted
        assert owed <= delivered
    assert answered.marked


def simple(
    *steps: tuple[int, bool, tuple[int, ...], tuple[int, ...]],
) -> list[Event]:
    return [Event(number, 0, key, unique, old, new) for number, (key, unique, old, new) in enumerate(steps)]


BOUNDS = Bounds(least=-300, most=300, stalled=-300)


def decisions(stream: Sequence[Event], **options: object) -> list[Decision]:
    return align(copies(stream), BOUNDS, **options).decisions  # type: ignore[arg-type]


SKIP, DELIVER, MARKED = Decision.SKIP, Decision.DELIVER, Decision.DELIVER_MARKED


def test_nothing_accepted_lately() -> None:
    stream = simple((1, False, (9_500,), (9_400,)), (1, False, (20_100,), (19_900,)))
    assert decisions(stream) == [SKIP, DELIVER]


def test_nothing_held() -> None:
    assert decisions(simple((1, False, (12_000,), ()))) == []


def test_the_new_side_lags_far_behind() -> None:
    stream = simple(
        (1_000, True, (15_000,), (15_000,)),
        (1, False, (19_800,), (25_000,)),
        (1, False, (19_900,), (25_000,)),
        (1, False, (20_100,), (25_000,)),
    )
    assert align(copies(stream), Bounds(least=0, most=6_000, stalled=0)).decisions == [SKIP, SKIP, SKIP, DELIVER]


def test_the_old_side_was_stalled_for_seconds() -> None:
    stream = simple(
        (1_000, True, (15_000,), (15_000,)),
        (1, False, (15_100,), (15_100,)),
        (1, False, (20_400,), (15_300,)),
        (1_001, True, (20_400,), (16_000,)),
        (1, False, (20_400,), (17_000,)),
    )
    assert decisions(stream, accepted_until=15_100) == [SKIP, SKIP, DELIVER, DELIVER, DELIVER]


def test_a_copy_of_an_accepted_event_that_comes_again_a_minute_later_is_skipped() -> None:
    stream = simple((1_000, True, (19_000,), (19_000, 79_000)), (1_001, True, (19_900,), (19_900,)))
    assert decisions(stream) == [SKIP, SKIP, SKIP]


def test_the_new_session_missed_the_last_accepted_event() -> None:
    """What follows has the same body, and must not be taken for it: the old session heard what came after the seal."""
    stream = simple(
        (1_000, True, (19_000,), (19_000,)),
        (1, False, (19_900,), ()),
        (1, False, (20_100,), (20_050,)),
        (1_001, True, (20_200,), (20_200,)),
    )
    assert decisions(stream) == [SKIP, DELIVER, DELIVER]
    assert decisions(stream, hears=False) == [SKIP, SKIP, DELIVER], "this is what the evidence is for"


def test_the_old_session_was_never_given_an_event_just_before_the_seal() -> None:
    stream = simple(
        (1_000, True, (19_500,), (19_500,)),
        (1_001, True, (), (19_700,)),
        (1_002, True, (19_800,), (19_800,)),
        (1_003, True, (20_100,), (20_100,)),
    )
    answered = align(copies(stream), BOUNDS)
    assert answered.decisions == [SKIP, DELIVER, SKIP, DELIVER]
    assert answered.alignment.outcome is Outcome.REPAIRED


def test_what_the_old_session_missed_long_before_the_seal_is_not_delivered_late_but_counted() -> None:
    stream = simple(
        (1_000, True, (12_000,), (12_000,)),
        (1_001, True, (), (14_000,)),
        (1_002, True, (19_000,), (19_000,)),
        (1_003, True, (20_100,), (20_100,)),
    )
    answered = align(copies(stream), BOUNDS)
    assert answered.decisions == [SKIP, SKIP, SKIP, DELIVER]
    assert answered.alignment.missed_by_old == 1


def test_what_a_resume_brings_again_and_may_be_older_than_the_record_is_marked() -> None:
    """A restarted worker gets the beginning of its window again, at a time that says nothing."""

    def came(key: int, at: int, *, again: bool) -> Arrived:
        return Arrived(key=key, unique=True, arrival=at, earliest=0 if again else at, replayed=again)

    accepted = [
        WindowEvent(key=1, arrival=15_000, unique=False),  # of which the new session was given no copy
        WindowEvent(key=1_002, arrival=19_900, unique=True),
    ]
    for again, first in ((True, MARKED), (False, DELIVER)):
        alignment = ExactAlignment(
            Evidence(sealed_at=SEAL, recorded_since=SINCE, events=accepted, bounds=BOUNDS, held_since=HELD_SINCE)
        )
        alignment.learn([], SEAL)
        first_at, second_at = (30_000, 30_000) if again else (19_700, 19_950)
        held = [came(1_000, first_at, again=again), came(1_002, second_at, again=again)]
        answers = [*alignment.feed_many([*held, came(1_003, 30_100, again=False)]), *alignment.pass_time(40_000)]
        assert answers == [first, SKIP, DELIVER]


def test_two_neighbours_are_swapped_across_the_seal() -> None:
    stream = simple(
        (1_000, True, (19_000,), (19_000,)),
        (1_001, True, (20_050,), (19_950,)),
        (1_002, True, (19_990,), (19_960,)),
        (1_003, True, (20_200,), (20_200,)),
    )
    assert decisions(stream) == [SKIP, DELIVER, SKIP, DELIVER]


@pytest.mark.parametrize("late", [0, 10_000])
def test_a_guild_joined_inside_the_window_starts_for_both_sides_at_once(late: int) -> None:
    stream = simple((1, False, (19_000 + late,), (19_100 + late,)), (1, False, (20_100 + late,), (20_000 + late,)))
    assert decisions(stream) == [SKIP if not late else DELIVER, DELIVER]
