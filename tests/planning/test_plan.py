"""The planner as a table: a situation, and the acts that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from gateway_operator.api import unsupported
from gateway_operator.api.conditions import ConditionStatus, ConditionType, timestamp
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Outcome, Status, Step
from gateway_operator.planning.actions import (
    Change,
    EnsureGeneration,
    RefreshDiscord,
    WriteRecord,
)
from gateway_operator.planning.observed import (
    DiscordProblem,
    DiscordTrouble,
    Observation,
    ObservedRecord,
    ObservedSecret,
)
from gateway_operator.planning.plan import plan
from gateway_operator.planning.wishes import wishes
from planning.situations import (
    BEGUN,
    COMMITTED,
    DISCORD,
    EIGHT,
    NOW,
    ONE,
    OVERLAPPED,
    SIXTEEN,
    TWO,
    acts,
    gen,
    message,
    observe,
    record,
    reshard,
    said,
    spec,
)

from shard_runtime.contract import (
    HeldBack,
    Record,
    ShardState,
)

TWELVE = replace(DISCORD, recommended_shards=12)

TABLE = {
    "nothing is there": (observe(EIGHT, None), ["create record 1"]),
    "only the record is there": (observe(EIGHT, record(1, honoured=EIGHT)), ["ensure 1"]),
    "only the record is there and the spec changed": (observe(SIXTEEN, record(1, honoured=EIGHT)), ["honour"]),
    "only a record with a target is there": (observe(SIXTEEN, BEGUN), ["abort"]),
    "all is well": (observe(EIGHT, record(1, honoured=EIGHT), gen(ONE)), ["ensure 1"]),
    "shards are missing": (observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, ready=3)), ["ensure 1"]),
    "count changed": (observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE)), ["begin 2"]),
    "count changed while the first generation starts": (
        observe(SIXTEEN, record(1, honoured=EIGHT), replace(gen(ONE, ready=3), created_at=NOW - 9000)),
        ["ensure 1"],
    ),
    "count changed while shards have been missing for long": (
        observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE, ready=3)),
        ["begin 2"],
    ),
    "count changed because the first generation is refused": (
        observe(
            SIXTEEN,
            record(1, honoured=EIGHT),
            replace(gen(ONE, ready=3, problem="4011 sharding required"), created_at=NOW - 9000),
        ),
        ["begin 2"],
    ),
    "request changed": (observe(spec(8, request_id="a"), record(1, honoured=EIGHT), gen(ONE)), ["begin 2"]),
    "request taken back": (
        observe(EIGHT, record(1, honoured=spec(8, request_id="a"), epoch=3), gen(ONE, epoch=3)),
        ["honour"],
    ),
    "count 0 is what is there": (observe(spec(0), record(1, honoured=EIGHT), gen(ONE)), ["honour"]),
    "count 0 is recommended otherwise": (
        observe(spec(0), record(1, honoured=EIGHT), gen(ONE), discord=replace(DISCORD, recommended_shards=12)),
        ["begin 2"],
    ),
    "the recommendation moved": (
        observe(spec(0), record(1, honoured=spec(0)), gen(ONE), discord=replace(DISCORD, recommended_shards=12)),
        ["ensure 1"],
    ),
    "layout changed": (
        observe(spec(8, shards={"count": 8, "perWorker": 8}), record(1, honoured=EIGHT), gen(ONE)),
        ["begin 2"],
    ),
    "intents changed": (
        observe(spec(8, intents=["GUILDS", "GUILD_MESSAGES"]), record(1, honoured=EIGHT), gen(ONE)),
        ["begin 2"],
    ),
    "presence changed": (
        observe(spec(8, identify={"presence": {"status": "idle"}}), record(1, honoured=EIGHT), gen(ONE)),
        ["ensure 1"],
    ),
    "paused": (observe(spec(16, paused=True), record(1, honoured=EIGHT), gen(ONE)), ["ensure 1"]),
    "paused before the first": (observe(spec(16, paused=True), None), []),
    "budget is short": (
        observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE), discord=replace(DISCORD, remaining=115)),
        ["ensure 1"],
    ),
    "budget is just enough": (
        observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE), discord=replace(DISCORD, remaining=116)),
        ["begin 2"],
    ),
    "budget is old": (
        observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE), discord=replace(DISCORD, read_at=NOW - 31_000)),
        ["ensure 1", "read discord"],
    ),
    "budget is short for the first": (observe(EIGHT, None, discord=replace(DISCORD, remaining=12)), []),
    "discord was not read": (observe(EIGHT, None, discord=None), ["read discord"]),
    "target to be created": (observe(SIXTEEN, BEGUN, gen(ONE, epoch=2)), ["ensure 1", "ensure 2"]),
    "target to be created, count changed again": (
        observe(spec(12), BEGUN, gen(ONE, epoch=2)),
        ["abort"],
    ),
    "target connects": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, ready=15)),
        ["ensure 1", "ensure 2"],
    ),
    "target settles": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, settled=False), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "target is READY, overlap begins": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2),
            before=reshard(Step.CONNECTING, seconds=99),
        ),
        ["ensure 1", "ensure 2"],
    ),
    "overlap is too short": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2),
            before=reshard(Step.OVERLAPPING, seconds=10),
        ),
        ["ensure 1", "ensure 2"],
    ),
    "a session of the target is too young": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, age=9.0), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "an old pod does not know the target": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=1), gen(TWO, epoch=2), before=OVERLAPPED),
        ["ensure 1", "ensure 2", "push 1/0,1", "touch 1/0,1"],
    ),
    "an old pod does not answer": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2, silent=(1,)), gen(TWO, epoch=2), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "a target pod does not answer": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, silent=(3,)), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "receiver is away": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2, receiver=False), gen(TWO, epoch=2), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "receiver has been away for long": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2, receiver=False),
            gen(TWO, epoch=2),
            before=reshard(Step.HOLDING, seconds=10_000),
        ),
        ["ensure 1", "ensure 2"],
    ),
    "receiver is behind": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2, oldest=1.0), gen(TWO, epoch=2), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "the rehearsal does not fit": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, rehearsed=False), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "paused before the commit": (
        observe(spec(16, paused=True), BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2), before=OVERLAPPED),
        ["ensure 1", "ensure 2"],
    ),
    "all is ready": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2), before=OVERLAPPED),
        ["commit"],
    ),
    "all is ready after a hold": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2),
            before=reshard(Step.HOLDING, seconds=0),
        ),
        ["commit"],
    ),
    "all is ready and the spec changed": (
        observe(spec(12), BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2), before=OVERLAPPED),
        ["abort"],
    ),
    "all is ready and the spec is invalid": (
        observe(
            None,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2),
            before=OVERLAPPED,
            problems=("spec.x: is wrong.",),
        ),
        [],
    ),
    "target is slow": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2, ready=9),
            before=reshard(Step.CONNECTING, seconds=299, ready=9),
        ),
        ["ensure 1", "ensure 2"],
    ),
    "target stalls": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2, ready=9),
            before=reshard(Step.CONNECTING, seconds=300, ready=9),
        ),
        ["abort"],
    ),
    "target stood still while no operator was there": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2, ready=9),
            before=reshard(Step.CONNECTING, seconds=9000, ready=9),
            watched_since=NOW - 299_000,
        ),
        ["ensure 1", "ensure 2"],
    ),
    "target was slow and went on": (
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2, ready=10),
            before=reshard(Step.CONNECTING, seconds=300, ready=9),
        ),
        ["ensure 1", "ensure 2"],
    ),
    "aborted": (
        observe(spec(12), record(1, honoured=EIGHT, epoch=3), gen(ONE, epoch=3), gen(TWO, epoch=3)),
        ["ensure 1", "delete 2"],
    ),
    "aborted, and the pods are yet to know": (
        observe(spec(12), record(1, honoured=EIGHT, epoch=3), gen(ONE, epoch=3), gen(TWO, epoch=2)),
        ["ensure 1", "push 2/0,1,2,3", "touch 2/0,1,2,3", "delete 2"],
    ),
    "aborted and being deleted": (
        observe(
            spec(12), record(1, honoured=EIGHT, epoch=3), gen(ONE, epoch=3), replace(gen(TWO, epoch=3), deleting=True)
        ),
        ["ensure 1"],
    ),
    "aborted and gone, other count": (
        observe(spec(12), record(1, honoured=EIGHT, epoch=3), gen(ONE, epoch=3)),
        ["begin 3"],
    ),
    "aborted and gone, taken back": (
        observe(EIGHT, record(1, honoured=EIGHT, epoch=3), gen(ONE, epoch=3)),
        ["ensure 1"],
    ),
    "given up is not tried again": (
        observe(SIXTEEN, record(1, honoured=SIXTEEN, epoch=3), gen(ONE, epoch=3)),
        ["ensure 1"],
    ),
    "given up, asked anew": (
        observe(spec(16, request_id="again"), record(1, honoured=SIXTEEN, epoch=3), gen(ONE, epoch=3)),
        ["begin 3"],
    ),
    "committed": (
        observe(SIXTEEN, COMMITTED, gen(ONE, epoch=2), gen(TWO, epoch=2, complete=False), before=OVERLAPPED),
        ["ensure 2", "push 1/0,1", "touch 1/0,1", "push 2/0,1,2,3", "touch 2/0,1,2,3"],
    ),
    "committed, spec changed again": (
        observe(spec(12), COMMITTED, gen(ONE, epoch=3), gen(TWO, epoch=3, complete=False)),
        ["ensure 2"],
    ),
    "handed over, the old side still has events": (
        observe(SIXTEEN, COMMITTED, gen(ONE, epoch=3, queued=1), gen(TWO, epoch=3, complete=True)),
        ["ensure 2"],
    ),
    "handed over, the old side still waits for answers of Discord": (
        observe(SIXTEEN, COMMITTED, gen(ONE, epoch=3, awaited=1), gen(TWO, epoch=3, complete=True)),
        ["ensure 2"],
    ),
    "handed over but for a pod that does not answer": (
        observe(SIXTEEN, COMMITTED, gen(ONE, epoch=3), gen(TWO, epoch=3, complete=True, silent=(2,))),
        ["ensure 2"],
    ),
    "handed over": (
        observe(SIXTEEN, COMMITTED, gen(ONE, epoch=3), gen(TWO, epoch=3, complete=True)),
        ["retire"],
    ),
    "handed over, the old pods are gone": (
        observe(SIXTEEN, COMMITTED, gen(ONE, silent=(0, 1)), gen(TWO, epoch=3, complete=True)),
        ["retire"],
    ),
    "retired": (
        observe(
            SIXTEEN,
            record(2, honoured=SIXTEEN, epoch=4, retired=1),
            gen(ONE, epoch=4),
            gen(TWO, epoch=4, complete=True),
        ),
        ["ensure 2", "delete 1"],
    ),
    "retired, and a pod of the active one lost its state": (
        observe(
            SIXTEEN,
            record(2, honoured=SIXTEEN, epoch=4, retired=1),
            gen(ONE, epoch=4),
            gen(TWO, epoch=4, complete=False),
        ),
        ["ensure 2", "delete 1"],
    ),
    "the old StatefulSet was deleted by a person": (
        observe(SIXTEEN, COMMITTED, gen(TWO, epoch=3, complete=False)),
        ["retire"],
    ),
    "done": (
        observe(SIXTEEN, record(2, honoured=SIXTEEN, epoch=4, retired=1), gen(TWO, epoch=4, complete=True)),
        ["ensure 2"],
    ),
    "done, and again": (
        observe(EIGHT, record(2, honoured=SIXTEEN, epoch=4, retired=1), gen(TWO, epoch=4, complete=True)),
        ["begin 3"],
    ),
}


@pytest.mark.parametrize(("observation", "expected"), TABLE.values(), ids=TABLE.keys())
def test_plan(observation: Observation, expected: list[str]) -> None:
    made = plan(observation)
    assert acts(made) == expected
    assert made.again == any(isinstance(action, WriteRecord | RefreshDiscord) for action in made.actions)


CONFLICTS = {
    "record missing": (observe(EIGHT, None, gen(ONE)), "RecordMissing"),
    "record unreadable": (
        observe(EIGHT, ObservedRecord(resource_version="1", record=None, problem="not JSON"), gen(ONE)),
        "RecordUnreadable",
    ),
    "active missing": (observe(SIXTEEN, BEGUN, gen(TWO)), "ConflictingEvidence"),
    "a pod saw a later record": (observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, epoch=2)), "ConflictingEvidence"),
    "a later generation was active": (
        observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=Status(active_generation=2)),
        "ConflictingEvidence",
    ),
    "a StatefulSet without annotation": (
        observe(EIGHT, record(1, honoured=EIGHT), replace(gen(ONE), fixed=None)),
        "ConflictingEvidence",
    ),
    "target below active": (observe(EIGHT, record(2, 1, honoured=EIGHT), gen(TWO)), "ConflictingEvidence"),
}


@pytest.mark.parametrize(("observation", "reason"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_conflicting_evidence_starts_and_deletes_nothing(observation: Observation, reason: str) -> None:
    made = plan(observation)
    assert made.actions == ()
    assert said(made, ConditionType.DEGRADED) == (ConditionStatus.TRUE, reason)


REFUSED = DiscordProblem(kind=DiscordTrouble.TOKEN_REFUSED, message="Discord refused the token.")
AWAY = DiscordProblem(kind=DiscordTrouble.UNREACHABLE, message="http://x cannot be reached.")

TOKENS = {
    "missing secret": (
        {"secret": ObservedSecret(name="bot", exists=False)},
        ConditionStatus.FALSE,
        "Secret default/bot does not exist. Create it, or set spec.tokenSecretRef.name.",
    ),
    "missing key": (
        {"secret": ObservedSecret(name="bot", exists=True, keys=("TOKEN",))},
        ConditionStatus.FALSE,
        'Secret default/bot has no key "token" (keys: TOKEN). Set spec.tokenSecretRef.key.',
    ),
    "empty": (
        {"secret": ObservedSecret(name="bot", exists=True, keys=("token",), usable=False)},
        ConditionStatus.FALSE,
        'Key "token" of Secret default/bot is empty. Put the bot token there.',
    ),
    "refused": ({"discord_problem": REFUSED}, ConditionStatus.FALSE, "Discord refused the token."),
    "unreachable": ({"discord_problem": AWAY}, ConditionStatus.UNKNOWN, "http://x cannot be reached."),
}


@pytest.mark.parametrize(("trouble", "status", "sentence"), TOKENS.values(), ids=TOKENS.keys())
def test_without_a_good_token_nothing_starts_and_what_runs_is_left_alone(
    trouble: dict[str, Any], status: ConditionStatus, sentence: str
) -> None:
    first = plan(observe(EIGHT, None, **trouble))
    assert acts(first) == []
    assert message(first, ConditionType.TOKEN_VALID) == sentence
    assert message(first, ConditionType.READY) == sentence
    assert said(first, ConditionType.TOKEN_VALID)[0] is status
    running = plan(observe(SIXTEEN, record(1, honoured=EIGHT), gen(ONE), **trouble))
    assert acts(running) == ["ensure 1"]
    assert said(running, ConditionType.READY)[0] is ConditionStatus.TRUE
    assert message(running, ConditionType.RESHARDING) == sentence
    begun = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), **trouble))
    assert acts(begun) == ["ensure 1"]


@pytest.mark.parametrize(
    ("wanted", "problems", "reason", "sentence"),
    [
        (None, ("spec.intents[0]: is wrong.",), "InvalidSpec", "spec.intents[0]: is wrong."),
        (spec(16), (), "Unsupported", "spec.shards is not supported in this version; remove it."),
    ],
    ids=["invalid", "unsupported"],
)
def test_a_refused_spec_leaves_what_runs_alone(
    wanted: Spec | None, problems: tuple[str, ...], reason: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (("spec.shards", lambda spec: spec.shards.count == 16, "remove it"),)
    monkeypatch.setattr(unsupported, "UNSUPPORTED", table)
    for known, generations in ((None, ()), (record(1, honoured=EIGHT), (gen(ONE),))):
        made = plan(observe(wanted, known, *generations, problems=problems))
        assert made.actions == ()
        assert said(made, ConditionType.READY) == (ConditionStatus.FALSE, reason)
        assert message(made, ConditionType.READY) == sentence


def test_a_refused_spec_does_not_stop_a_cutover_after_the_commit() -> None:
    made = plan(observe(None, COMMITTED, gen(ONE, epoch=3), gen(TWO, epoch=3, complete=True), problems=("x",)))
    assert acts(made) == ["retire"]


def test_a_new_generation_is_what_the_spec_asks_for_and_knows_its_predecessor() -> None:
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2)))
    created = next(a for a in made.actions if isinstance(a, EnsureGeneration) and a.generation.number == 2).generation
    assert created.layout.count == 16
    assert created.wishes == wishes(SIXTEEN)
    assert created.predecessor is not None
    assert (created.predecessor.generation, created.predecessor.layout) == (1, ONE.layout)
    assert created.epoch == 2


def test_the_old_generation_keeps_its_options_while_its_successor_has_others() -> None:
    other = spec(8, intents=["GUILDS", "GUILD_MESSAGES"])
    made = plan(observe(other, record(1, 2, honoured=other, epoch=2), gen(ONE, epoch=2)))
    intents = {a.generation.number: a.generation.intents for a in made.actions if isinstance(a, EnsureGeneration)}
    assert intents == {1: 1, 2: 1 | 1 << 9}


def test_a_write_names_the_version_that_was_read_and_raises_the_epoch() -> None:
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2), before=OVERLAPPED))
    (write,) = made.actions
    assert isinstance(write, WriteRecord)
    assert write.resource_version == "42"
    assert write.record == Record(epoch=3, active=2, target=None, honoured=wishes(SIXTEEN))


def test_what_a_target_is_to_be_is_decided_when_it_is_begun() -> None:
    (begin,) = plan(observe(spec(0), record(1, honoured=EIGHT), gen(ONE), discord=TWELVE)).actions
    assert isinstance(begin, WriteRecord)
    assert (begin.record.target_count, begin.record.target_reason) == (12, "CountChanged")
    known = ObservedRecord(resource_version="43", record=begin.record)
    made = plan(observe(spec(0), known, gen(ONE, epoch=2), discord=replace(TWELVE, recommended_shards=13)))
    created = next(a for a in made.actions if isinstance(a, EnsureGeneration) and a.generation.number == 2).generation
    assert (created.layout.count, created.reason, created.guilds) == (12, "CountChanged", 80)


@pytest.mark.parametrize("code", [4010, 4011, 4013, 4014])
def test_a_target_that_discord_will_never_take_is_given_up_at_once(code: int) -> None:
    target = gen(TWO, epoch=2, ready=9, problem="closed", code=code)
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), target, before=reshard(Step.CONNECTING, seconds=1)))
    (write,) = made.actions
    assert isinstance(write, WriteRecord)
    assert (write.change, write.record.given_up) == (Change.ABORT, 2)
    assert f"({code})" in write.why


def test_an_abort_for_a_changed_spec_honours_what_runs_and_a_stall_what_was_tried() -> None:
    changed = plan(observe(spec(12), BEGUN, gen(ONE, epoch=2)))
    stalled = plan(
        observe(
            SIXTEEN,
            BEGUN,
            gen(ONE, epoch=2),
            gen(TWO, epoch=2, ready=9),
            before=reshard(Step.CONNECTING, seconds=300, ready=9),
        )
    )
    honoured = [a.record.honoured for made in (changed, stalled) for a in made.actions if isinstance(a, WriteRecord)]
    assert honoured == [wishes(EIGHT), wishes(SIXTEEN)]


def test_given_up_wishes_ask_for_a_person() -> None:
    made = plan(observe(SIXTEEN, record(1, honoured=SIXTEEN, epoch=3), gen(ONE, epoch=3)))
    assert said(made, ConditionType.DEGRADED) == (ConditionStatus.TRUE, "ReshardGivenUp")
    assert "spec.reshard.requestID" in message(made, ConditionType.DEGRADED)
    assert said(made, ConditionType.READY)[0] is ConditionStatus.TRUE


def test_a_status_of_another_pod_at_the_address_counts_for_nothing() -> None:
    observed = gen(ONE)
    own = observed.pods[0].status
    assert own is not None
    stranger = msgspec.structs.replace(own, pod_uid="another")
    pods = (replace(observed.pods[0], status=stranger), observed.pods[1])
    made = plan(observe(EIGHT, record(1, honoured=EIGHT), replace(observed, pods=pods)))
    assert made.status.ready_shards == 4
    assert message(made, ConditionType.READY) == ("4 of 8 shards of generation 1 are READY; not READY: 0, 1, 2, 3.")


def test_the_status_says_what_a_person_wants_to_know() -> None:
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, ready=15)))
    status = made.status.manifest()
    assert status["observedGeneration"] == 7
    assert {condition["observedGeneration"] for condition in status["conditions"]} == {7}
    assert (status["shards"], status["readyShards"], status["pods"]) == (8, 8, 2)
    assert status["selector"] == "discordgateway.dev/gateway=bot,discordgateway.dev/generation=1"
    assert (status["guilds"], status["capacity"], status["utilisation"]) == (80, 20_000, 0)
    assert (status["activeGeneration"], status["targetGeneration"]) == (1, 2)
    assert status["reshard"]["step"] == "Connecting"
    assert (status["reshard"]["from"], status["reshard"]["to"]) == (8, 16)
    assert status["reshard"]["message"] == "15 of 16 shards are READY; waiting for 15."
    assert [(g["number"], g["role"], g["readyShards"], g["readyPods"]) for g in status["generations"]] == [
        (2, "standby", 15, 3),
        (1, "active", 8, 2),
    ]
    assert status["generations"][0]["notReadyShards"] == [15]
    assert status["identifyBudget"]["remaining"] == 900


def test_no_commit_without_a_rehearsal_that_fits() -> None:
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, rehearsed=False), before=OVERLAPPED))
    assert made.status.reshard is not None
    assert made.status.reshard.step is Step.OVERLAPPING
    assert "Only 3 of 40 guilds have an event in common." in made.status.reshard.message


def test_a_reshard_that_is_over_is_in_the_history() -> None:
    done = plan(
        observe(
            SIXTEEN,
            record(2, honoured=SIXTEEN, epoch=4, retired=1),
            gen(TWO, epoch=4, complete=True),
            before=reshard(Step.RETIRING, seconds=1),
        )
    )
    assert done.status.reshard is None
    (past,) = done.status.history
    assert (past.outcome, past.generation, past.duration_seconds) == (Outcome.COMPLETED, 2, 400.0)
    assert past.released_guilds == 20
    counts = (past.aligned, past.by_occurrence, past.ambiguous, past.repaired, past.missed_by_old)
    assert counts == (36, 8, 4, 4, 12)
    assert (past.lag_least_milliseconds, past.lag_most_milliseconds) == (-40, 90)
    pauses = (past.pause_median_milliseconds, past.pause_p99_milliseconds, past.longest_pause_milliseconds)
    assert pauses == (25.0, 420.0, 420.0), "upper bounds of classes, and never more than the longest"
    assert past.identify_limit_seconds == 80.0
    again = plan(
        observe(
            SIXTEEN,
            record(2, honoured=SIXTEEN, epoch=4, retired=1),
            gen(TWO, epoch=4, complete=True),
            previous=done.status,
        )
    )
    assert len(again.status.history) == 1


@pytest.mark.parametrize(
    ("before", "outcome", "words"),
    [
        (
            observe(spec(12), BEGUN, gen(ONE, epoch=2)),
            Outcome.ABORTED,
            "The spec changed before generation 2 took over.",
        ),
        (
            observe(
                SIXTEEN,
                BEGUN,
                gen(ONE, epoch=2),
                gen(TWO, epoch=2, ready=9),
                before=reshard(Step.CONNECTING, seconds=300, ready=9),
            ),
            Outcome.STALLED,
            "Generation 2 is given up: it made no progress for 300 s.",
        ),
    ],
    ids=["aborted", "stalled"],
)
def test_the_history_tells_an_abort_from_a_stall(before: Observation, outcome: Outcome, words: str) -> None:
    if before.previous.reshard is None:
        before = replace(before, previous=Status(reshard=reshard(Step.CONNECTING, seconds=1)))
    ends = plan(before)
    (write,) = ends.actions
    assert isinstance(write, WriteRecord)
    known = ObservedRecord(resource_version="43", record=write.record)
    after = plan(observe(before.spec, known, gen(ONE, epoch=3), previous=ends.status))
    (past,) = after.status.history
    assert past.outcome is outcome
    assert past.message.startswith(words)


@pytest.mark.parametrize(
    ("remaining", "ready", "reason"),
    [(5, 6, "IdentifyBudgetExhausted"), (6, 6, "AsExpected"), (5, 8, "AsExpected")],
    ids=["shards wait and nothing is left", "shards wait and something is left", "nothing is left and nobody waits"],
)
def test_a_budget_that_is_used_up_is_said(remaining: int, ready: int, reason: str) -> None:
    discord = replace(DISCORD, remaining=remaining)
    made = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, ready=ready), discord=discord))
    assert said(made, ConditionType.DEGRADED)[1] == reason
    if reason == "IdentifyBudgetExhausted":
        assert message(made, ConditionType.DEGRADED).endswith("Shards 6, 7 wait.")


@pytest.mark.parametrize(
    ("held", "ready", "reason"),
    [
        (HeldBack.PACE, 8, "IdentifyBudgetAtRisk"),
        (HeldBack.SHARE, 6, "SessionsDoNotLast"),
        (HeldBack.BUDGET, 6, "IdentifyBudgetExhausted"),
        (HeldBack.AWAY, 6, "SharedGateAway"),
        (HeldBack.RESERVE, 8, "AsExpected"),
    ],
)
def test_what_the_gate_holds_back_is_said(held: HeldBack, ready: int, reason: str) -> None:
    made = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, ready=ready), held=frozenset({held})))
    assert said(made, ConditionType.DEGRADED)[1] == reason


def test_a_reshard_that_waits_for_the_budget_says_so() -> None:
    held = frozenset({HeldBack.RESERVE})
    made = plan(observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, ready=3, epoch=2), held=held))
    assert said(made, ConditionType.RESHARDING) == (ConditionStatus.TRUE, "Connecting")
    assert message(made, ConditionType.RESHARDING).endswith("in reserve (spec.reshard.identifyReserve).")


def test_a_gateway_at_rest_says_the_same_again() -> None:
    first = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE)))
    later = observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=first.status, now=NOW + 90_000)
    assert plan(later).status == first.status


def test_gauges_stay_as_they_were_until_they_are_due() -> None:
    first = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE)))
    busy = observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, queued=9), previous=first.status)
    assert plan(replace(busy, gauges_due=False)).status == first.status
    assert plan(busy).status.delivery.queued == 18


def test_readings_that_differ_by_the_way_they_took_are_no_news() -> None:
    first = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE)))
    for jitter in (-3_000, 900, 3_000):
        moved = replace(DISCORD, reset_at=DISCORD.reset_at + jitter)
        again = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=first.status, discord=moved))
        assert again.status == first.status
    next_day = replace(DISCORD, reset_at=DISCORD.reset_at + 86_400_000)
    changed = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=first.status, discord=next_day))
    assert changed.status != first.status


def test_a_conditions_time_is_when_its_status_changed() -> None:
    first = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, ready=3)))
    second = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE, ready=5), previous=first.status, now=NOW + 5_000))
    third = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=second.status, now=NOW + 9_000))
    times = [
        next(c.last_transition_time for c in made.status.conditions if c.type is ConditionType.READY)
        for made in (first, second, third)
    ]
    assert times == [timestamp(NOW), timestamp(NOW), timestamp(NOW + 9_000)]


@pytest.mark.parametrize(
    ("silent_seconds", "behind_seconds", "step"),
    [(30.0, 30.5, "Connecting"), (None, None, "Connecting"), (0.4, None, "Connecting"), (0.4, 0.5, "Holding")],
)
def test_an_old_session_that_was_away_for_long_starts_the_overlap_anew(
    silent_seconds: float | None, behind_seconds: float | None, step: str
) -> None:
    """What it missed comes in one burst then, which says nothing of when it was sent."""
    before = gen(ONE, epoch=2)
    (first, *others) = before.pods
    assert first.status is not None
    (shard, *rest) = first.status.shards
    away = msgspec.structs.replace(
        shard, state=ShardState.RESUMING, silent_seconds=silent_seconds, behind_seconds=behind_seconds
    )
    status = msgspec.structs.replace(first.status, shards=[away, *rest])
    old = replace(before, pods=(replace(first, status=status), *others))
    made = plan(observe(SIXTEEN, BEGUN, old, gen(TWO, epoch=2), before=OVERLAPPED))
    assert acts(made) == ["ensure 1", "ensure 2"]
    assert said(made, ConditionType.RESHARDING) == (ConditionStatus.TRUE, step)
    assert "to resume" in message(made, ConditionType.RESHARDING)
    back = plan(observe(SIXTEEN, BEGUN, before, gen(TWO, epoch=2), previous=made.status))
    assert acts(back) == (["ensure 1", "ensure 2"] if step == "Connecting" else ["commit"]), (
        "both sides record for overlapSeconds again"
    )
