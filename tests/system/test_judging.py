"""What simulated runs are judged by sees what it is there for, and forgives no more than it has to."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from system.forgiven import Struck, Wiped, begun_anew, expired, forgiven, unsaved
from system.order import Arrivals, disordered_in_guilds, disordered_in_sessions
from system.promises import lost_by_name
from system.verdicts import Evidence, judged
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS

from discord_simulator.receipts import Delivery, Receipts, Received
from discord_simulator.truth import Counters, EventTruth, SessionTruth, Truth
from shard_runtime.delivery.bounds import FULL

A, B = "a", "b"
"""Sessions of generations 1 and 2."""


def truth(*, ends: str | None = None) -> Truth:
    """Events 1 to 4 of two guilds; 2 and 4 have equal bodies. Session a has all, b has 3 and 4."""

    def session(name: str, pairs: dict[int, int], end: str | None = None) -> SessionTruth:
        return SessionTruth(
            id=name,
            shard=0,
            count=1,
            intents=1,
            created_at=0,
            ended_at=None if end is None else 9,
            end=end,
            resumes=0,
            sequences=list(pairs),
            events=list(pairs.values()),
        )

    return Truth(
        now=9,
        since=0,
        counters=Counters(),
        names=["MESSAGE_CREATE", "WEBHOOKS_UPDATE"],
        streams=[10, 20],
        events=EventTruth(first=1, names=[0, 1, 0, 1], streams=[0, 0, 1, 0], keys=[0, 7, 0, 7], at=[1, 2, 3, 4]),
        sessions=[session(A, {2: 1, 3: 2, 4: 3, 5: 4}, ends), session(B, {2: 3, 3: 4})],
    )


def received(*deliveries: tuple[str, int] | tuple[str, int, str]) -> Received:
    """(session, sequence), in order; a third element marks one."""
    receipts = Receipts(append=lambda line: None)
    for session, sequence, *marked in deliveries:
        name = "WEBHOOKS_UPDATE" if (session, sequence) in ((A, 3), (A, 5), (B, 3)) else "MESSAGE_CREATE"
        delivery = Delivery(session=session, sequence=sequence, shard=0, name=name, marked=bool(marked))
        receipts.record([delivery], generation="1" if session == A else "2", at=sequence)
    return receipts.received()


def evidence(*deliveries: tuple[str, int] | tuple[str, int, str]) -> Evidence:
    return Evidence(
        truth=truth(),
        received=received(*deliveries),
        held_by={A: "bot-g1-0", B: "bot-g2-0"},
        active_since=[(1, 0)],
        in_charge_since={1: 0},
        frail=False,
        forgiven=frozenset(),
        begun_anew=frozenset(),
        abandoned=frozenset(),
        forgotten=frozenset(),
        settled_since={1: 0},
        by_shard=True,
        without=frozenset(),
        dropped=Counter(),
        acts=frozenset(),
    )


ALL = ((A, 2), (A, 3), (A, 4), (A, 5))


def broken(what: Evidence) -> list[str]:
    return [sentence.partition(":")[0] for sentence in judged(what)[1]]


def test_all_that_was_sent_in_order_breaks_nothing() -> None:
    assert broken(evidence(*ALL)) == []


def test_a_redelivery_hides_no_loss_of_an_event_with_an_equal_body() -> None:
    what = evidence((A, 2), (A, 3), (A, 4), (A, 3))
    assert broken(replace(what, acts=frozenset({"kill_worker"}))) == ["nothing is lost"]
    assert lost_by_name(what.truth, what.received, without=frozenset()) == {"WEBHOOKS_UPDATE": 1, "MESSAGE_CREATE": 0}


def test_a_redelivery_wants_an_answer_that_was_lost() -> None:
    what = evidence(*ALL, (A, 5))
    assert broken(what) == ["nothing comes twice"]
    assert broken(replace(what, acts=frozenset({"kill_worker"}))) == []


def test_a_mark_wants_a_reshard() -> None:
    what = evidence((A, 2), (A, 3), (A, 4), (A, 5, "marked"))
    assert broken(what) == ["nothing comes twice"]
    assert broken(replace(what, active_since=[(1, 0), (2, 3)])) == []


def test_many_marks_want_a_disturbed_reshard() -> None:
    what = evidence(*((A, 2, "marked") for _ in range(6)), *ALL[1:])
    what = replace(what, active_since=[(1, 0), (2, 3)])
    calm = broken(replace(what, acts=frozenset({"reshard", "bot_away"})))
    assert calm == ["nothing comes twice"]
    assert broken(replace(what, acts=frozenset({"reshard", "kill_pod"}))) == []


def test_a_loss_is_excused_by_the_session_that_was_to_deliver_it_and_no_other() -> None:
    what = evidence((A, 2), (A, 3), (A, 4))
    of_another = replace(what, truth=truth(), forgiven=frozenset({"bot-g2-0"}), frail=False)
    assert broken(of_another) == ["nothing is lost"]
    own = replace(what, truth=truth(ends="closed:4009"), forgiven=frozenset({"bot-g1-0"}))
    assert broken(own) == []


def test_a_session_may_be_given_up_between_the_start_and_a_commit() -> None:
    what = replace(evidence((A, 2), (A, 3), (A, 4)), frail=True, truth=truth(ends="closed:4009"))
    assert broken(replace(what, in_charge_since={1: 1, 2: 9})) == []
    assert broken(replace(what, in_charge_since={1: -90_000, 2: -60_000})) == ["nothing is lost"]


def test_order_within_one_session_is_never_excused() -> None:
    arrivals = Arrivals(truth(), received((A, 2), (A, 5), (A, 3), (A, 4)))
    assert len(list(disordered_in_guilds(arrivals, excused=frozenset({1, 2, 3, 4})))) == 1
    late = Arrivals(truth(), received((A, 2), (A, 5), (B, 2)))
    assert not list(disordered_in_guilds(late, excused=frozenset()))


def test_what_the_active_generation_had_not_may_come_late_from_the_next() -> None:
    of_a, of_b = truth().sessions
    missed = truth()
    missed.sessions = [
        msgspec.structs.replace(of_a, sequences=[2, 5], events=[1, 4]),
        msgspec.structs.replace(of_b, events=[3, 2]),
    ]
    deliveries = evidence((A, 2), (A, 5), (B, 2), (B, 3))
    assert broken(replace(deliveries, truth=missed, in_charge_since={1: 0, 2: 9})) == []
    assert broken(replace(deliveries, truth=missed, in_charge_since={2: 0})) == ["order in a guild"]


def test_what_the_active_generation_dropped_may_come_late_from_the_next() -> None:
    late = evidence((A, 2), (A, 3), (A, 5), (B, 2))
    late = replace(late, active_since=[(1, 0), (2, 9)], in_charge_since={1: 0, 2: 9})
    late.truth.streams[1] = late.truth.streams[0]
    assert broken(late) == ["order in a guild"]
    assert broken(replace(late, dropped=Counter({("MESSAGE_CREATE", FULL): 1}))) == []


@pytest.mark.parametrize(("since", "found"), [({1: 0}, 1), ({1: 4}, 0), ({2: 0}, 0)])
def test_order_of_a_session_from_when_it_is_promised(since: dict[int, int], found: int) -> None:
    arrivals = Arrivals(truth(), received((A, 2), (A, 4), (A, 3), (A, 5)))
    assert len(list(disordered_in_sessions(arrivals, generation_of={A: 1, B: 2}, since=since))) == found


@pytest.mark.parametrize(
    ("order", "begin", "found"), [((2, 3, 5, 4), 0, 1), ((2, 3, 5, 4), 1, 0), ((2, 4, 3, 5), 1, 1)]
)
def test_the_first_event_of_a_stream_may_wait_for_its_place(order: tuple[int, ...], begin: int, found: int) -> None:
    arrivals = Arrivals(truth(), received(*((A, sequence) for sequence in order)))
    assert len(list(disordered_in_sessions(arrivals, generation_of={A: 1}, since={1: begin}))) == found


POD = Wiped("bot-g1-0", told_at=100.0, at=110.0)


@pytest.mark.parametrize(
    ("struck", "expected"),
    [
        ([], False),
        ([Struck("delete_pod", 99.8, 99.8)], False),
        ([Struck("delete_pod", 99.8, 99.8), Struck("delete_pod", 99.0, 99.0)], True),
        ([Struck("cut", 60.0, 75.0)], True),
        ([Struck("cut", 40.0, 60.0)], False),
        ([Struck("kill_operator", 190.0, 195.0)], True),
        ([Struck("kill_operator", 210.0, 215.0)], False),
        ([Struck("bot_away", 90.0, 120.0)], False),
    ],
)
def test_a_deleted_pod_is_forgiven_for_what_befell_others_at_that_time(struck: list[Struck], expected: bool) -> None:
    assert forgiven([POD], struck, {1: 10.0}) == (frozenset({"bot-g1-0"}) if expected else frozenset())


def test_a_pod_of_a_generation_that_is_over_needs_no_forgiveness() -> None:
    assert forgiven([POD], [Struck("cut", 90.0, 120.0)], {1: 10.0, 2: 95.0}) == frozenset()


@pytest.mark.parametrize(("settled", "expected"), [(99.0, False), (101.0, True), (math.inf, True)])
def test_a_pod_that_is_deleted_in_its_handover_begins_anew(settled: float, expected: bool) -> None:
    assert bool(begun_anew([POD], {1: settled})) is expected


def session_of(*, began: float, ended: float | None = None, end: str | None = None) -> SessionTruth:
    """Times are the loop's."""
    at = [None if moment is None else VIRTUAL_EPOCH_MILLISECONDS + int(moment * 1000) for moment in (began, ended)]
    return msgspec.structs.replace(truth().sessions[0], created_at=at[0] or 0, ended_at=at[1], end=end)


@pytest.mark.parametrize(
    ("struck", "expected"),
    [
        ([], False),
        ([Struck("kill_pod", 75.0, 75.0)], True),
        ([Struck("kill_pod", 35.0, 35.0)], False),
        ([Struck("cut", 35.0, 51.0)], True),
        ([Struck("kill_pod", 101.0, 101.0)], False),
        ([Struck("bot_away", 60.0, 100.0)], False),
    ],
)
def test_a_session_may_expire_while_something_keeps_its_pod_from_discord(struck: list[Struck], expected: bool) -> None:
    session = session_of(began=0.0, ended=100.0, end="expired")
    assert expired([session], struck, expiry_seconds=20.0) == (frozenset({A}) if expected else frozenset())
    assert not expired([session_of(began=0.0, ended=100.0, end="killed")], struck, expiry_seconds=20.0)


DISK = Struck("failing_disk", 50.0, 60.0)


@pytest.mark.parametrize(
    ("began", "struck", "expected"),
    [
        (55.0, [DISK], False),
        (55.0, [DISK, Struck("kill_pod", 58.0, 58.0)], True),
        (55.0, [DISK, Struck("kill_pod", 54.0, 54.0)], False),
        (55.0, [DISK, Struck("kill_pod", 63.0, 63.0)], False),
        (49.0, [DISK, Struck("kill_pod", 58.0, 58.0)], False),
        (55.0, [DISK, Struck("cut", 50.0, 70.0)], False),
        (55.0, [Struck("kill_pod", 58.0, 58.0)], False),
    ],
)
def test_a_session_that_no_disk_has_taken_may_be_forgotten(began: float, struck: list[Struck], expected: bool) -> None:
    assert unsaved([session_of(began=began)], struck) == (frozenset({A}) if expected else frozenset())


def test_what_was_forgotten_excuses_that_session_and_no_other() -> None:
    what = replace(evidence((A, 2), (A, 3), (A, 4)), truth=truth(ends="expired"))
    assert broken(what) == ["nothing is lost"]
    assert broken(replace(what, forgotten=frozenset({B}))) == ["nothing is lost"]
    assert broken(replace(what, forgotten=frozenset({A}))) == []


def test_we_may_end_a_session_when_the_record_names_another_generation_and_not_before() -> None:
    what = replace(evidence(*ALL), truth=truth(ends="clientClose"), in_charge_since={1: 0, 2: 20})
    assert broken(replace(what, active_since=[(1, 0), (2, 12)])) == ["sessions live on"]
    assert broken(replace(what, active_since=[(1, 0), (2, 5)])) == []
