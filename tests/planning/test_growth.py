"""Automatic resharding as a table: when more shards are asked for, how many, and why not now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from gateway_operator.api.conditions import ConditionStatus, ConditionType, timestamp
from gateway_operator.api.generation import AUTOMATIC, Generation
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Outcome, ReshardOutcome, Status, Step
from gateway_operator.planning.actions import Change, EnsureGeneration, WriteRecord
from gateway_operator.planning.difference import new_generation
from gateway_operator.planning.growth import grown_count
from gateway_operator.planning.observed import DiscordInfo, Observation, ObservedRecord
from gateway_operator.planning.plan import plan
from gateway_operator.planning.shards import legal_count
from gateway_operator.planning.wishes import wishes
from planning.situations import DISCORD, NOW, ONE, acts, fixed, gen, message, observe, record, reshard, said, spec

DAY = 86_400_000


def growing(*, auto: bool = True, count: int = 8, **reshard: Any) -> Spec:
    """A spec whose shards are meant to hold 12 guilds each: ``ONE`` has 80 of 96, which are 83 %."""
    return spec(count, reshard={"auto": auto, "guildsPerShard": 12, **reshard})


AUTO = growing()


def past(outcome: Outcome, *, seconds: float, generation: int = 2, reason: str = AUTOMATIC) -> ReshardOutcome:
    """A reshard that ended so long ago."""
    ended = timestamp(NOW - int(seconds * 1000))
    return ReshardOutcome(
        outcome=outcome,
        reason=reason,
        from_=8,
        to=17,
        generation=generation,
        started_at=ended,
        ended_at=ended,
        duration_seconds=1,
    )


def outgrown(wanted: Spec = AUTO, *, history: tuple[ReshardOutcome, ...] = (), **more: Any) -> Observation:
    health, recorded = more.pop("health", {}), more.pop("recorded", {})
    return observe(
        wanted,
        record(1, honoured=wanted, **recorded),
        gen(ONE, **health),
        previous=Status(history=[*history]),
        **more,
    )


TABLE = {
    "80 % are reached": (outgrown(), ["begin 2"], "ReshardStarted"),
    "just below": (outgrown(growing(atPercent=84)), [], "Idle"),
    "not automatic": (outgrown(growing(auto=False)), [], "Idle"),
    "guilds are still being counted": (outgrown(health={"settled": False}), [], "Idle"),
    "a pod does not answer": (outgrown(health={"silent": (1,)}), [], "Idle"),
    "paused": (
        outgrown(spec(8, reshard={"auto": True, "guildsPerShard": 12}, paused=True)),
        [],
        "Paused",
    ),
    "a rollout is under way": (outgrown(health={"old": (1,)}), ["replace 1/1"], "Idle"),
    "the budget is short": (outgrown(discord=replace(DISCORD, remaining=116)), [], "IdentifyBudget"),
    "the budget is just enough": (outgrown(discord=replace(DISCORD, remaining=117)), ["begin 2"], "ReshardStarted"),
    "the budget was read long ago": (
        outgrown(discord=replace(DISCORD, read_at=NOW - 31_000)),
        ["read discord"],
        "ReadingBudget",
    ),
    "within the cooldown": (outgrown(history=(past(Outcome.COMPLETED, seconds=3599, generation=1),)), [], "Cooldown"),
    "after the cooldown": (
        outgrown(history=(past(Outcome.COMPLETED, seconds=3601, generation=1),)),
        ["begin 2"],
        "ReshardStarted",
    ),
    "the maximum is reached": (outgrown(growing(maxShards=8)), [], "MaxShards"),
    "the maximum is near": (outgrown(growing(maxShards=9)), ["begin 2"], "ReshardStarted"),
    "the first try failed a while ago": (
        outgrown(history=(past(Outcome.STALLED, seconds=3601),)),
        ["begin 3"],
        "ReshardStarted",
    ),
    "the first try failed just now": (outgrown(history=(past(Outcome.STALLED, seconds=60),)), [], "Cooldown"),
    "two tries failed": (
        outgrown(history=(past(Outcome.STALLED, seconds=9999, generation=3), past(Outcome.STALLED, seconds=19999))),
        [],
        "ReshardGivenUp",
    ),
    "refused for too many guilds": (
        outgrown(health={"ready": 7, "problem": "closed", "code": 4011}),
        ["begin 2"],
        "ReshardStarted",
    ),
    "refused for too many guilds within the cooldown": (
        outgrown(
            health={"ready": 7, "problem": "closed", "code": 4011},
            history=(past(Outcome.COMPLETED, seconds=9, generation=1),),
        ),
        ["begin 2"],
        "ReshardStarted",
    ),
    "refused for too many guilds, and the last try failed just now": (
        outgrown(
            health={"ready": 7, "problem": "closed", "code": 4011},
            history=(past(Outcome.STALLED, seconds=9),),
            recorded={"given_up": 2},
        ),
        [],
        "Cooldown",
    ),
    "a try failed, and nothing is remembered of when": (
        outgrown(recorded={"given_up": 2}),
        ["begin 2"],
        "ReshardStarted",
    ),
    "a try failed, and this operator has just come": (
        outgrown(recorded={"given_up": 2}, watched_since=NOW - 1000),
        [],
        "Cooldown",
    ),
    "refused for another reason": (outgrown(health={"ready": 7, "problem": "closed", "code": 4004}), [], "Idle"),
}


@pytest.mark.parametrize(("observation", "expected", "reason"), TABLE.values(), ids=TABLE.keys())
def test_automatic_resharding(observation: Observation, expected: list[str], reason: str) -> None:
    made = plan(observation)
    assert [act for act in acts(made) if act != "ensure 1"] == expected
    if reason != "ReshardStarted":
        assert said(made, ConditionType.RESHARDING) == (ConditionStatus.FALSE, reason)


def test_a_part_of_the_shards_is_not_resharded_alone() -> None:
    wanted = spec(8, shards={"count": 8, "last": 3}, reshard={"auto": True, "guildsPerShard": 12})
    part = new_generation(wanted, number=1, count=8, reason="FirstGeneration")
    made = plan(observe(wanted, record(1, honoured=wanted), gen(part)))
    assert acts(made) == ["ensure 1"]
    assert said(made, ConditionType.RESHARDING) == (ConditionStatus.FALSE, "PartOfShards")
    assert made.status.shards == 4


def test_a_hold_says_the_same_while_guilds_come_and_go() -> None:
    wanted = growing(maxShards=8)
    first = plan(observe(wanted, record(1, honoured=wanted), gen(ONE)))
    more = gen(ONE)
    status = more.pods[0].status
    assert status is not None
    shards = [msgspec.structs.replace(shard, guilds=shard.guilds + 1) for shard in status.shards]
    pods = (replace(more.pods[0], status=msgspec.structs.replace(status, shards=shards)), more.pods[1])
    second = plan(
        observe(wanted, record(1, honoured=wanted), replace(more, pods=pods), previous=first.status, gauges_due=False)
    )
    assert second.status == first.status


# --- How many ---------------------------------------------------------------------------------------------------------


def count(
    *, wanted: Spec = AUTO, discord: DiscordInfo = DISCORD, guilds: int | None = None, days: float = 0, **health: Any
) -> int:
    """The new count for 80 guilds on 8 shards, *guilds* of them there when it was begun, *days* ago."""
    made = msgspec.structs.replace(ONE, guilds=guilds)
    active = replace(gen(made, **health), created_at=NOW - int(days * DAY))
    return grown_count(observe(wanted, record(1, honoured=wanted), active), wanted, active, discord)


def test_growth_seen_is_provided_for_within_bounds() -> None:
    per_shard = 12 * 0.8
    assert count() == -(-80 * 2 // per_shard) == 17, "nothing is known: twice"
    assert count(guilds=40, days=30) == 17, "a day's fame is no trend: twice at most"
    assert count(guilds=60, days=90) == -(-100 // per_shard) == 11, "20 in 90 days: 20 more"
    assert count(guilds=80, days=300) == -(-100 // per_shard) == 11, "a lull is no end: a quarter at least"
    assert count(guilds=90, days=300) == 11


def test_what_discord_recommends_is_the_least() -> None:
    assert count(discord=replace(DISCORD, recommended_shards=40)) == 40
    assert count(discord=replace(DISCORD, recommended_shards=1), wanted=growing(guildsPerShard=2500)) == 9


def test_a_refused_shard_doubles_the_count_at_least() -> None:
    assert count(wanted=growing(guildsPerShard=2500), ready=0, problem="closed", code=4011) == 16


def test_the_maximum_is_kept() -> None:
    assert count(wanted=growing(maxShards=12)) == 12


@pytest.mark.parametrize(
    ("wanted", "concurrency", "most", "legal"),
    [
        (8, 16, None, 8),
        (99, 16, None, 99),
        (100, 16, None, 112),
        (112, 16, None, 112),
        (113, 16, 120, 112),
        (100, 1, None, 100),
        (17_000, 16, None, 16_384),
        (50, 16, 40, 40),
    ],
)
def test_counts_of_large_bots_are_multiples(wanted: int, concurrency: int, most: int | None, legal: int) -> None:
    assert legal_count(wanted, replace(DISCORD, max_concurrency=concurrency), most=most) == legal


# --- Afterwards -------------------------------------------------------------------------------------------------------

HONOURED = wishes(AUTO)
BEGUN = record(1, 2, honoured=AUTO, epoch=2, target_count=17, target_reason=AUTOMATIC)


def grown(wanted: Spec = AUTO) -> Generation:
    return new_generation(wanted, number=2, count=17, reason=AUTOMATIC, predecessor=fixed(1, wanted), epoch=2)


def test_the_target_is_made_as_it_was_begun_even_if_the_need_is_gone() -> None:
    calm = growing(atPercent=100)
    made = plan(observe(calm, BEGUN, gen(ONE, epoch=2)))
    (created,) = [a.generation for a in made.actions if isinstance(a, EnsureGeneration) and a.create]
    assert (created.number, created.layout.count, created.reason, created.automatic) == (2, 17, AUTOMATIC, True)
    assert created.wishes == HONOURED
    assert made.status.reshard is not None
    assert (made.status.reshard.to, made.status.reshard.reason) == (17, AUTOMATIC)


def test_an_automatic_count_stands_until_a_person_writes_another() -> None:
    known = record(2, honoured=AUTO, epoch=4, retired=1)
    active = gen(grown(), epoch=4, guilds=4)
    at_rest = plan(observe(AUTO, known, active))
    assert acts(at_rest) == ["ensure 2"]
    assert said(at_rest, ConditionType.DEGRADED)[0] is ConditionStatus.FALSE
    off = growing(auto=False)
    assert acts(plan(observe(off, known, active))) == ["ensure 2"], "switched off, it is not undone either"

    def begun(wanted: Spec) -> int | None:
        (write,) = plan(observe(wanted, known, active)).actions
        assert isinstance(write, WriteRecord) and write.change is Change.BEGIN
        return write.record.target_count

    other_intents = spec(8, intents=["GUILDS", "GUILD_MESSAGES"], reshard={"auto": True, "guildsPerShard": 12})
    assert begun(other_intents) == 17, "another wish does not shrink the bot"
    assert begun(growing(count=24)) == 24
    assert begun(growing(count=4)) == 4
    third = new_generation(other_intents, number=3, count=17, reason="IdentifyChanged", predecessor=grown(), epoch=5)
    assert third.automatic, "and so on"
    fourth = new_generation(growing(count=24), number=4, count=24, reason="CountChanged", predecessor=third, epoch=6)
    assert not fourth.automatic


@pytest.mark.parametrize("ready", [0, 9, 17])
def test_switching_it_off_aborts_before_the_commit(ready: int) -> None:
    off = growing(auto=False)
    before = reshard(Step.OVERLAPPING, seconds=60)
    target = () if ready == 0 else (gen(grown(), epoch=2, ready=ready),)
    made = plan(observe(off, BEGUN, gen(ONE, epoch=2), *target, before=before))
    assert acts(made) == ["abort"]
    (write,) = made.actions
    assert isinstance(write, WriteRecord)
    assert (write.record.target, write.record.target_count, write.record.given_up) == (None, None, 0)


def test_switching_it_off_does_not_abort_what_a_person_asked_for() -> None:
    off = growing(auto=False, count=16)
    known = record(1, 2, honoured=off, epoch=2, target_count=16, target_reason="CountChanged")
    target = new_generation(off, number=2, count=16, reason="CountChanged", predecessor=ONE, epoch=2)
    assert acts(plan(observe(off, known, gen(ONE, epoch=2), gen(target, epoch=2, ready=9)))) == ["ensure 1", "ensure 2"]


def test_a_failed_automatic_target_is_told_and_the_next_try_counts_as_the_second() -> None:
    stalled = plan(
        observe(
            AUTO,
            BEGUN,
            gen(ONE, epoch=2),
            gen(grown(), epoch=2, ready=9),
            before=reshard(Step.CONNECTING, seconds=300, ready=9),
        )
    )
    (write,) = stalled.actions
    assert isinstance(write, WriteRecord)
    known = ObservedRecord(resource_version="43", record=write.record)
    after = plan(observe(AUTO, known, gen(ONE, epoch=3), previous=stalled.status))
    assert acts(after) == ["ensure 1"]
    cooling = plan(observe(AUTO, known, gen(ONE, epoch=3), previous=after.status))
    assert acts(cooling) == ["ensure 1"]
    assert said(cooling, ConditionType.RESHARDING) == (ConditionStatus.FALSE, "Cooldown")
    assert said(after, ConditionType.DEGRADED) == (ConditionStatus.TRUE, "ReshardGivenUp")
    assert message(after, ConditionType.DEGRADED).startswith("Generation 2 made no progress")
    again = observe(AUTO, known, gen(ONE, epoch=3), previous=after.status, now=NOW + 3_700_000)
    again = replace(again, discord=replace(DISCORD, read_at=NOW + 3_700_000))
    second = plan(again)
    assert acts(second) == ["begin 3"]
    (begin,) = second.actions
    assert isinstance(begin, WriteRecord)
    begun = ObservedRecord(resource_version="44", record=begin.record)
    comes_up = plan(replace(again, record=begun, previous=second.status))
    assert comes_up.status.reshard is not None
    assert comes_up.status.reshard.attempt == 2


@pytest.mark.parametrize(("promote", "expected"), [(False, ["ensure 1", "ensure 2"]), (True, ["commit"])])
def test_without_promotion_everything_is_made_ready_and_the_commit_waits(promote: bool, expected: list[str]) -> None:
    wanted = growing(autoPromote=promote)
    before = reshard(Step.OVERLAPPING, seconds=12)
    made = plan(observe(wanted, BEGUN, gen(ONE, epoch=2), gen(grown(wanted), epoch=2), before=before))
    assert acts(made) == expected
    if not promote:
        assert message(made, ConditionType.RESHARDING) == (
            "Everything is ready. spec.reshard.autoPromote is false; set it to true to cut over."
        )
        assert said(made, ConditionType.RESHARDING) == (ConditionStatus.TRUE, "Holding")


def test_waiting_for_a_promotion_is_no_stall() -> None:
    wanted = growing(autoPromote=False)
    before = reshard(Step.HOLDING, seconds=99_999)
    made = plan(observe(wanted, BEGUN, gen(ONE, epoch=2), gen(grown(wanted), epoch=2), before=before))
    assert acts(made) == ["ensure 1", "ensure 2"]


@pytest.mark.parametrize(("per_shard", "percent"), [(10, 100), (11, 90), (12, 83), (13, 76), (2500, 0)])
def test_the_utilisation_is_never_rounded_up_to_what_is_not_reached(per_shard: int, percent: int) -> None:
    made = plan(outgrown(growing(auto=False, guildsPerShard=per_shard)))
    assert made.status.utilisation == percent
