"""The rules of the identify gate, one by one."""

from __future__ import annotations

import pytest
from gateway_operator.identify.asks import Answer, Ask, Limits, Refused, ShardKey, Urgency
from gateway_operator.identify.gate import FLOOR, SILENCE_SECONDS, UNREPORTED_SECONDS, WINDOW_SECONDS, IdentifyGate

from shard_runtime.contract import HeldBack, Permit, PermitOutcome, PermitResult, PermitWait

START = 1000.0
AWAKE = START + SILENCE_SECONDS


def gate(*, remaining: int = 1000, concurrency: int = 1) -> IdentifyGate:
    """A gate whose silence is over at ``AWAKE``, with a reading that is later than any permit before it."""
    made = IdentifyGate(now=START, incarnation="a")
    made.limits_read(AWAKE, "app", limits(remaining=remaining, concurrency=concurrency))
    return made


def limits(*, remaining: int = 1000, concurrency: int = 1, read_at: float = AWAKE) -> Limits:
    return Limits(total=1000, remaining=remaining, reset_at=read_at + 9e4, max_concurrency=concurrency, read_at=read_at)


def ask(
    shard: int = 0,
    *,
    generation: int = 1,
    urgency: Urgency = Urgency.RECOVERY,
    reserve: int = 0,
    pod: str = "p",
    wish: str = "",
    attempt: int = 0,
) -> Ask:
    return Ask(
        application="app",
        key=ShardKey("default", "bot", generation, shard),
        pod_uid=pod,
        urgency=urgency,
        reserve=reserve,
        wish=wish,
        attempt=attempt,
    )


def reshard(shard: int = 0, *, reserve: int = 0) -> Ask:
    return ask(shard, generation=2, urgency=Urgency.RESHARD, reserve=reserve)


def permit(answer: Answer) -> Permit:
    assert isinstance(answer, Permit), answer
    return answer


def wait(answer: Answer) -> float:
    """Seconds to wait."""
    assert isinstance(answer, PermitWait), answer
    return answer.retry_after_milliseconds / 1000


def report(made: IdentifyGate, now: float, given: Permit, outcome: PermitOutcome, *, ago: float | None = 0.0) -> bool:
    milliseconds = None if ago is None else round(ago * 1000)
    result = PermitResult(outcome=outcome, sent_milliseconds_ago=milliseconds)
    return made.result(now, given.id, result, namespace="default", gateway="bot")


def test_a_gate_that_has_just_started_is_silent_for_a_permits_life_and_a_window() -> None:
    made = gate()
    assert wait(made.request(START, ask())) == pytest.approx(7.3, abs=0.01)
    assert wait(made.request(AWAKE - 0.5, ask())) == pytest.approx(0.5, abs=0.01)
    permit(made.request(AWAKE, ask()))


def test_nothing_is_given_before_the_limit_was_read() -> None:
    assert wait(IdentifyGate(now=0.0, incarnation="a").request(AWAKE, ask())) == 1.0


def test_a_bucket_waits_for_the_window_after_the_frame_was_sent() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    report(made, AWAKE + 1.0, given, PermitOutcome.READY, ago=0.4)  # sent at +0.6
    assert wait(made.request(AWAKE + 1.0, ask(1))) == pytest.approx(0.6 + WINDOW_SECONDS - 1.0, abs=0.01)
    permit(made.request(AWAKE + 0.6 + WINDOW_SECONDS, ask(1)))


def test_a_bucket_waits_for_ready_when_that_comes_later_than_the_window() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    assert wait(made.request(AWAKE + 12, ask(1))) == pytest.approx(0.25, abs=0.01)
    report(made, AWAKE + 12.1, given, PermitOutcome.READY, ago=12.0)
    permit(made.request(AWAKE + 12.3, ask(1)))


def test_a_refused_identify_frees_its_bucket_like_ready() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    report(made, AWAKE + 0.2, given, PermitOutcome.REJECTED, ago=0.2)
    wait(made.request(AWAKE + WINDOW_SECONDS - 0.1, ask(1)))
    permit(made.request(AWAKE + WINDOW_SECONDS, ask(1)))


def test_an_unused_permit_frees_its_bucket_at_once_and_costs_nothing() -> None:
    made = gate(remaining=10)
    given = permit(made.request(AWAKE, ask(0)))
    assert made.remaining(AWAKE, "app") == 9
    report(made, AWAKE + 0.1, given, PermitOutcome.UNUSED, ago=None)
    assert made.remaining(AWAKE + 0.1, "app") == 10
    permit(made.request(AWAKE + 0.1, ask(1)))


def test_a_bucket_waits_for_the_window_after_discord_had_a_frame_that_the_network_held_up() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    held_up = PermitResult(outcome=PermitOutcome.READY, sent_milliseconds_ago=20_000, arrived_milliseconds_ago=1000)
    made.result(AWAKE + 20, given.id, held_up, namespace="default", gateway="bot")
    assert wait(made.request(AWAKE + 20, ask(1))) == pytest.approx(WINDOW_SECONDS - 1.0, abs=0.01)
    permit(made.request(AWAKE + 19 + WINDOW_SECONDS, ask(1)))


def test_a_frame_that_was_known_to_arrive_early_holds_nobody_up_for_a_late_ready() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    prompt = PermitResult(outcome=PermitOutcome.READY, sent_milliseconds_ago=9000, arrived_milliseconds_ago=8900)
    made.result(AWAKE + 9, given.id, prompt, namespace="default", gateway="bot")
    permit(made.request(AWAKE + 9, ask(1)))


def test_a_frame_that_may_be_under_way_holds_its_bucket_for_a_minute() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    lost_sight = PermitResult(outcome=PermitOutcome.REJECTED, sent_milliseconds_ago=20_000, under_way=True)
    made.result(AWAKE + 20, given.id, lost_sight, namespace="default", gateway="bot")
    wait(made.request(AWAKE + UNREPORTED_SECONDS - 0.1, ask(1)))
    permit(made.request(AWAKE + UNREPORTED_SECONDS + 0.1, ask(1)))


def test_a_report_that_comes_after_the_pod_has_asked_again_still_counts() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0, wish="one")))
    wait(made.request(AWAKE + 20, ask(0, wish="two")))
    lost_sight = PermitResult(outcome=PermitOutcome.REJECTED, sent_milliseconds_ago=20_000, under_way=True)
    made.result(AWAKE + 20.5, given.id, lost_sight, namespace="default", gateway="bot")
    wait(made.request(AWAKE + UNREPORTED_SECONDS - 0.1, ask(0, wish="two", attempt=1)))


def test_a_permit_that_is_never_reported_is_over_after_a_minute_and_spent() -> None:
    made = gate(remaining=10)
    permit(made.request(AWAKE, ask(0)))
    wait(made.request(AWAKE + UNREPORTED_SECONDS - 0.1, ask(1)))
    permit(made.request(AWAKE + UNREPORTED_SECONDS, ask(1)))
    assert made.remaining(AWAKE + UNREPORTED_SECONDS, "app") == 8


def test_a_late_report_changes_nothing() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    made.request(AWAKE + UNREPORTED_SECONDS + 10, ask(1))
    assert report(made, AWAKE + UNREPORTED_SECONDS + 11, given, PermitOutcome.READY)
    assert made.remaining(AWAKE + UNREPORTED_SECONDS + 11, "app") == 998


def test_a_pod_that_asks_again_is_done_with_its_lost_permit_but_not_its_successor() -> None:
    made = gate()
    permit(made.request(AWAKE, ask(0, pod="p")))
    # The permit's answer was lost; it may have been used until its life's end, and have got there until now.
    assert wait(made.request(AWAKE + 1, ask(0, pod="p"))) == pytest.approx(2 + WINDOW_SECONDS - 1, abs=0.01)
    assert wait(made.request(AWAKE + 5, ask(0, pod="p"))) == pytest.approx(2 + WINDOW_SECONDS - 5, abs=0.01)
    permit(made.request(AWAKE + 2 + WINDOW_SECONDS, ask(0, pod="p")))
    # Another incarnation says nothing about what the first one does.
    wait(made.request(AWAKE + 25, ask(0, pod="q")))


def test_buckets_are_shards_modulo_max_concurrency_across_generations() -> None:
    made = gate(concurrency=4)
    for shard in range(4):
        permit(made.request(AWAKE, ask(shard)))
    wait(made.request(AWAKE, ask(4)))
    wait(made.request(AWAKE, reshard(7)))


def test_another_max_concurrency_makes_permits_block_every_bucket() -> None:
    made = gate(concurrency=1)
    permit(made.request(AWAKE, ask(0)))
    made.limits_read(AWAKE + 1, "app", limits(concurrency=16, read_at=AWAKE + 1))
    wait(made.request(AWAKE + 1, ask(5)))


def test_applications_do_not_wait_for_each_other() -> None:
    made = gate()
    made.limits_read(AWAKE, "other", limits())
    permit(made.request(AWAKE, ask(0)))
    other = Ask(
        application="other", key=ShardKey("default", "other", 1, 0), pod_uid="o", urgency=Urgency.RECOVERY, reserve=0
    )
    permit(made.request(AWAKE, other))


def test_recovery_goes_ahead_of_a_reshard_that_asked_first() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    report(made, AWAKE, given, PermitOutcome.READY)
    wait(made.request(AWAKE, reshard(1)))
    wait(made.request(AWAKE + 1, ask(2)))
    free = AWAKE + WINDOW_SECONDS
    wait(made.request(free, reshard(1)))
    permit(made.request(free, ask(2)))


def test_among_equals_the_first_to_ask_is_first() -> None:
    made = gate()
    report(made, AWAKE, permit(made.request(AWAKE, ask(0))), PermitOutcome.READY)
    first = wait(made.request(AWAKE + 0.1, ask(2)))
    second = wait(made.request(AWAKE + 0.2, ask(1)))
    assert second > first
    free = AWAKE + WINDOW_SECONDS
    wait(made.request(free, ask(1)))
    permit(made.request(free, ask(2)))


def test_permits_that_never_arrived_cost_a_shard_nothing_of_its_hour() -> None:
    made = gate()
    for attempt in range(1, 10):
        last = permit(made.request(AWAKE + 5 * attempt, ask(wish="one", attempt=attempt)))
    assert made.remaining(AWAKE + 46, "app") == 999, "the last one may still be used"
    report(made, AWAKE + 46, last, PermitOutcome.READY)
    report(made, AWAKE + 60, permit(made.request(AWAKE + 60, ask(wish="two", attempt=1))), PermitOutcome.REJECTED)
    permit(made.request(AWAKE + 70, ask(wish="three", attempt=1)))
    assert wait(made.request(AWAKE + 80, ask(wish="four", attempt=1))) > 0, "three starts within the hour"


def test_a_request_that_comes_after_the_one_that_followed_it_frees_nothing() -> None:
    made = gate()
    used = permit(made.request(AWAKE, ask(wish="one", attempt=2)))
    wait(made.request(AWAKE + 1, ask(wish="one", attempt=1)))
    wait(made.request(AWAKE + 1, ask(1)))
    report(made, AWAKE + 2, used, PermitOutcome.READY)
    wait(made.request(AWAKE + 8, ask(wish="one", attempt=1)))
    permit(made.request(AWAKE + 8, ask(1)))


def test_who_does_not_come_back_loses_the_place_and_holds_nobody_up() -> None:
    made = gate()
    report(made, AWAKE, permit(made.request(AWAKE, ask(0))), PermitOutcome.READY)
    seconds = wait(made.request(AWAKE, ask(2)))
    wait(made.request(AWAKE, ask(1)))
    permit(made.request(AWAKE + 1.1 * seconds + 1.1, ask(1)))


def test_a_reshard_leaves_the_reserve_and_recovery_the_floor() -> None:
    made = gate(remaining=101)
    answer = made.request(AWAKE, reshard(reserve=101))
    assert isinstance(answer, PermitWait)
    assert answer.reason == "101 session starts are left today and 101 are kept back."
    permit(made.request(AWAKE + 40, ask(1)))
    low = gate(remaining=FLOOR)
    wait(low.request(AWAKE, ask(0)))
    permit(gate(remaining=FLOOR + 1).request(AWAKE, ask(0)))


def test_permits_count_against_the_budget_until_a_reading_after_their_end() -> None:
    made = gate(remaining=10)
    given = permit(made.request(AWAKE, ask(0)))
    report(made, AWAKE + 1, given, PermitOutcome.READY)
    made.limits_read(AWAKE + 1.5, "app", limits(remaining=10, read_at=AWAKE + 0.5))  # begun before the end
    assert made.remaining(AWAKE + 2, "app") == 9
    made.limits_read(AWAKE + 3, "app", limits(remaining=9, read_at=AWAKE + 3))
    assert made.remaining(AWAKE + 3, "app") == 9


def test_an_older_reading_is_ignored() -> None:
    made = gate(remaining=10)
    made.limits_read(AWAKE + 1, "app", limits(remaining=900, read_at=AWAKE - 1))
    assert made.remaining(AWAKE + 1, "app") == 10


def test_a_reading_at_the_start_leaves_room_for_permits_of_the_gate_before() -> None:
    made = IdentifyGate(now=START, incarnation="b")
    made.limits_read(START + 1, "app", limits(remaining=100, concurrency=16, read_at=START + 1))
    assert made.remaining(START + 1, "app") == 84


def test_a_shard_gets_three_permits_an_hour_and_then_holds_nobody_up() -> None:
    made, now = gate(), AWAKE
    for _ in range(3):
        report(made, now, permit(made.request(now, ask(0))), PermitOutcome.READY)
        now += 10
    answer = made.request(now, ask(0))
    assert isinstance(answer, PermitWait)
    assert answer.reason == "Shard 0 has used its 3 session starts of this hour."
    permit(made.request(now, ask(1)))
    permit(made.request(AWAKE + 3600, ask(0)))


def held(answer: Answer) -> str | None:
    assert isinstance(answer, PermitWait), answer
    return answer.held


def test_why_a_permit_is_held_back_is_said_in_a_word() -> None:
    made = gate(remaining=26)
    assert held(made.request(AWAKE, reshard(reserve=100))) == HeldBack.RESERVE
    permit(made.request(AWAKE, ask(0)))
    assert held(made.request(AWAKE, ask(1))) is None, "its bucket's turn"
    assert held(gate(remaining=FLOOR).request(AWAKE, ask(0))) == HeldBack.BUDGET


def test_sessions_that_do_not_last_get_what_the_day_can_bear_and_others_go_ahead() -> None:
    made, now, concurrency = gate(remaining=105, concurrency=200), AWAKE, 200
    for shard in range(30):
        report(made, now, permit(made.request(now, ask(shard))), PermitOutcome.READY)
    again = 0
    for _ in range(2):
        now += 60
        for shard in range(30):
            answer = made.request(now, ask(shard))
            if isinstance(answer, Permit):
                again += 1
                report(made, now, answer, PermitOutcome.REJECTED)
            else:
                assert answer.held == HeldBack.PACE, answer
        made.limits_read(now + 1, "app", limits(remaining=75 - again, concurrency=concurrency, read_at=now + 1))
    assert again == 12, "a fifth of the 70 less what was used meanwhile"
    assert held(made.request(now + 2, reshard(50))) == HeldBack.PACE, "no reshard either"
    permit(made.request(now + 2, ask(40)))
    permit(made.request(AWAKE + 60 + 3600, ask(29)))


def test_a_repeated_start_that_did_not_happen_counts_for_nothing() -> None:
    made, now = gate(remaining=20, concurrency=8), AWAKE
    report(made, now, permit(made.request(now, ask(0))), PermitOutcome.READY)
    for _ in range(5):
        now += 10
        report(made, now, permit(made.request(now, ask(0))), PermitOutcome.UNUSED, ago=None)


def test_a_looping_bot_never_gets_to_the_floor_in_a_day() -> None:
    """However often its sessions end, on every minute of the day, the day's budget lasts."""
    made, now, left, hours = gate(remaining=1000, concurrency=64), AWAKE, 1000, []
    while now < AWAKE + 86_400:
        for shard in range(64):
            answer = made.request(now, ask(shard))
            if isinstance(answer, Permit):
                left -= 1
                report(made, now, answer, PermitOutcome.REJECTED)
        now += 60
        if now % 3600 < 60:
            hours.append(left)
        reading = Limits(total=1000, remaining=left, reset_at=AWAKE + 9e4, max_concurrency=64, read_at=now)
        made.limits_read(now, "app", reading)
    assert hours[0] > 700
    assert hours[5] > 200
    assert hours[19] > FLOOR
    assert left >= FLOOR


def test_a_refused_token_stops_the_gateway_until_the_token_changes() -> None:
    made = gate()
    report(made, AWAKE + 1, permit(made.request(AWAKE, ask(0))), PermitOutcome.TOKEN_REFUSED)
    answer = made.request(AWAKE + 60, ask(1))
    assert answer == Refused(reason="Discord does not accept the bot token (close code 4004).")
    assert made.stopped("default", "bot") is not None
    made.token_changed("default", "bot")
    permit(made.request(AWAKE + 60, ask(1)))


def test_a_result_is_taken_from_the_permits_gateway_only() -> None:
    made = gate()
    given = permit(made.request(AWAKE, ask(0)))
    unused = PermitResult(outcome=PermitOutcome.UNUSED)
    assert not made.result(AWAKE, given.id, unused, namespace="default", gateway="other")
    assert not made.result(AWAKE, "unknown", unused, namespace="default", gateway="bot")
    wait(made.request(AWAKE, ask(1)))


def test_ids_of_two_incarnations_differ() -> None:
    after = IdentifyGate(now=START, incarnation="b")
    after.limits_read(AWAKE, "app", limits())
    assert permit(gate().request(AWAKE, ask())).id != permit(after.request(AWAKE, ask())).id
