"""The session machine, walked at random and read as a table."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shard_runtime.contract import PermitOutcome
from shard_runtime.protocol.actions import (
    Action,
    Close,
    Lost,
    NeedPermit,
    Opened,
    PermitSettled,
    SendHeartbeat,
    SendIdentify,
    SendResume,
    Stopped,
)
from shard_runtime.protocol.backoff import CAP_SECONDS
from shard_runtime.protocol.close_codes import AFTER_CLOSE, After, after_close
from shard_runtime.protocol.envelope import UnreadableError, read_envelope
from shard_runtime.protocol.heartbeat import DEAD_SECONDS, PROBE_SECONDS
from shard_runtime.protocol.session import SessionMachine
from shard_runtime.protocol.transitions import ENDINGS, TRANSITIONS, Input, Phase


def payload(op: int, d: object = None, s: int | None = None, t: str | None = None) -> bytes:
    return json.dumps({"op": op, "d": d, "s": s, "t": t}).encode()


class Walk(RuleBasedStateMachine):
    """Discord and the network do whatever they like; what must hold, holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.machine = SessionMachine(chance=random.Random(1), watermark=lambda session: 1)
        self.machine.start(self.now)
        self.sessions = 0
        self.outstanding = 0
        self.permits = 0
        self.said_gone = False

    def feed(self, data: bytes) -> list[Action]:
        return self.check(self.machine.control(read_envelope(data), data, self.now))

    def check(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            match action:
                case SendIdentify():
                    assert self.machine.session_id is None, "an IDENTIFY while a session is held"
                    assert self.permits == 1
                    self.permits -= 1
                    self.outstanding += 1
                case PermitSettled():
                    assert self.outstanding == 1
                    self.outstanding -= 1
                case Lost():
                    assert self.said_gone, "a session was given up although nobody said that it is gone"
                case Close(code):
                    assert code == 4000
                case SendResume(session_id, sequence):
                    assert (session_id, sequence) == (self.machine.session_id, self.machine.sequence)
                case _:
                    pass
        self.said_gone = False
        return actions

    @property
    def open(self) -> bool:
        return self.machine.phase not in (Phase.IDLE, Phase.CONNECTING, Phase.STOPPED)

    @rule(seconds=st.floats(min_value=0, max_value=100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.open:
            self.check(self.machine.tick(self.now))

    @precondition(lambda self: self.machine.phase is Phase.IDLE)
    @rule(reachable=st.booleans())
    def connect(self, reachable: bool) -> None:
        self.now = max(self.now, self.machine.retry_at)
        self.said_gone = True  # by its resumes' failing for longer than a session can live
        self.check(self.machine.give_up_session(self.now))
        self.machine.connecting(self.now)
        if reachable:
            self.machine.connected(self.now)
        else:
            self.check(self.machine.unreachable(self.now))

    @precondition(lambda self: self.open)
    @rule()
    def hello(self) -> None:
        greeting = self.machine.phase is Phase.GREETING
        actions = self.feed(payload(10, {"heartbeat_interval": 41250}))
        if greeting:
            [action] = actions
            assert isinstance(action, SendResume if self.machine.session_id else NeedPermit)

    @precondition(lambda self: self.machine.phase is Phase.WAITING)
    @rule()
    def permit(self) -> None:
        self.permits += 1
        assert self.check(self.machine.permitted(self.now)) == [SendIdentify()]

    @precondition(lambda self: self.open)
    @rule()
    def ready(self) -> None:
        self.sessions += 1
        d = {"session_id": f"s{self.sessions}", "resume_gateway_url": "wss://r", "guilds": []}
        identifying = self.machine.phase is Phase.IDENTIFYING
        actions = self.feed(payload(0, d, 1, "READY"))
        assert any(isinstance(action, Opened) for action in actions) == identifying

    @precondition(lambda self: self.machine.receiving)
    @rule()
    def dispatch(self) -> None:
        self.machine.sequence += 1
        self.machine.heartbeat.heard = True

    @precondition(lambda self: self.open)
    @rule()
    def resumed(self) -> None:
        resuming = self.machine.phase is Phase.RESUMING
        self.feed(payload(0, {}, self.machine.sequence + 1, "RESUMED"))
        if resuming:
            assert self.machine.phase is Phase.LIVE

    @precondition(lambda self: self.open)
    @rule(resumable=st.sampled_from([True, False, None]))
    def invalid_session(self, resumable: bool | None) -> None:
        self.said_gone = resumable is not True
        held = self.machine.session_id
        self.feed(payload(9, resumable))
        assert self.machine.phase is Phase.IDLE
        assert self.machine.retry_at >= self.now + 1
        assert self.machine.session_id == (held if resumable is True else None)

    @precondition(lambda self: self.open)
    @rule()
    def reconnect(self) -> None:
        held = self.machine.session_id
        self.feed(payload(7))
        assert (self.machine.phase, self.machine.session_id) == (Phase.IDLE, held)

    @precondition(lambda self: self.open)
    @rule(code=st.sampled_from([code for code in AFTER_CLOSE if after_close(code) is not After.STOP] + [1006, 4321]))
    def closed(self, code: int | None) -> None:
        held = self.machine.session_id
        gone = after_close(code) is After.IDENTIFY
        self.said_gone = gone
        self.check(self.machine.closed(code, self.now))
        assert self.machine.phase is Phase.IDLE
        assert self.machine.session_id == (None if gone else held)

    @precondition(lambda self: self.open)
    @rule(stream_broken=st.booleans())
    def garbled(self, stream_broken: bool) -> None:
        self.check(self.machine.garbled(self.now, stream_broken=stream_broken))

    @precondition(lambda self: self.open)
    @rule()
    def asked_to_beat(self) -> None:
        due = self.machine.heartbeat.due_at
        match self.feed(payload(1, None)):
            case [SendHeartbeat(sequence)]:
                assert sequence == (1 if self.machine.session_id else None)
            case actions:  # Discord's limit leaves no room; the beat that is due still comes
                assert not actions and self.machine.heartbeat.due_at == due

    @precondition(lambda self: self.open)
    @rule(op=st.sampled_from([0, 2, 3, 4, 6, 8, 11, 12, 99]))
    def anything_else(self, op: int) -> None:
        phase = self.machine.phase
        self.feed(payload(op, {"x": 1}))
        assert self.machine.phase is phase or op == 0

    @precondition(lambda self: self.machine.phase is not Phase.STOPPED)
    @rule(end_session=st.booleans())
    def stop_and_start(self, end_session: bool) -> None:
        held = self.machine.session_id
        actions = self.machine.stop(end_session=end_session)
        assert actions[-1] == Stopped()
        for action in actions:
            if isinstance(action, PermitSettled):
                self.outstanding -= 1
            if isinstance(action, Close):
                assert action.code == (1000 if end_session else 4000)
        assert self.machine.session_id == (None if end_session else held)
        self.machine.start(self.now)

    @invariant()
    def something_is_always_due(self) -> None:
        machine = self.machine
        if machine.phase is Phase.IDLE:
            assert machine.retry_at <= self.now + CAP_SECONDS
        elif self.open:
            assert machine.deadline() < math.inf
        assert machine.receiving == (machine.phase in (Phase.RESUMING, Phase.LIVE))
        assert not machine.receiving or machine.session_id is not None
        assert self.outstanding == (1 if machine.phase is Phase.IDENTIFYING else 0)


Walk.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWalk = Walk.TestCase


def live(*, sequence: int = 1) -> SessionMachine:
    machine = SessionMachine(chance=random.Random(2), watermark=lambda session: None)
    machine.start(0)
    machine.connecting(1)
    machine.connected(1)
    for data in (payload(10, {"heartbeat_interval": 40000}),):
        machine.control(read_envelope(data), data, 1)
    machine.permitted(1)
    ready = payload(0, {"session_id": "s", "resume_gateway_url": "wss://r", "guilds": [{"id": "5"}]}, sequence, "READY")
    machine.control(read_envelope(ready), ready, 2)
    return machine


def test_every_ending_has_a_meaning_and_every_phase_can_end() -> None:
    endings = set(ENDINGS)
    for phase, moves in TRANSITIONS.items():
        if phase in (Phase.GREETING, Phase.WAITING, Phase.IDENTIFYING, Phase.RESUMING, Phase.LIVE):
            assert endings - {Input.UNREACHABLE} <= set(moves)
        assert all(target is Phase.IDLE for by, target in moves.items() if by in endings)


def test_the_first_heartbeat_is_jittered_over_the_interval() -> None:
    due = []
    for seed in range(200):
        machine = SessionMachine(chance=random.Random(seed), watermark=lambda session: None)
        machine.start(0)
        machine.connecting(0)
        machine.connected(0)
        hello = payload(10, {"heartbeat_interval": 40000})
        machine.control(read_envelope(hello), hello, 0)
        due.append(machine.heartbeat.due_at)
    assert min(due) < 2 and max(due) > 38 and 15 < sum(due) / len(due) < 25


def test_a_reconnect_after_a_connection_that_lived_is_immediate() -> None:
    machine = live()
    op7 = payload(7)
    machine.control(read_envelope(op7), op7, 100)
    assert machine.retry_at == 100


def test_op_7_again_and_again_is_not_followed_in_a_tight_loop() -> None:
    machine = live()
    op7 = payload(7)
    now, connections = 100.0, 0
    machine.control(read_envelope(op7), op7, now)
    while now < 160:
        now = machine.retry_at
        machine.connecting(now)
        machine.connected(now)
        machine.control(read_envelope(op7), op7, now)
        connections += 1
    assert connections < 20


def test_a_saved_session_is_resumed_by_its_url_and_from_its_sequence() -> None:
    machine = SessionMachine(
        chance=random.Random(1), watermark=lambda session: 41, session_id="s", resume_url="wss://r", sequence=41
    )
    machine.start(0)
    assert machine.connecting(1) == "wss://r"
    machine.connected(1)
    hello = payload(10, {"heartbeat_interval": 40000})
    assert machine.control(read_envelope(hello), hello, 1) == [SendResume(session_id="s", sequence=41)]


def test_a_connect_that_failed_once_turns_a_session_from_its_resume_url_only_until_it_has_resumed() -> None:
    machine = live()
    machine.closed(None, 10)
    assert machine.connecting(11) == "wss://r"
    machine.unreachable(12)
    assert machine.connecting(20) is None, "the other way is tried"
    machine.connected(20)
    for data in (payload(10, {"heartbeat_interval": 40000}), payload(0, {}, 2, "RESUMED")):
        machine.control(read_envelope(data), data, 21)
    assert machine.phase is Phase.LIVE
    machine.closed(None, 100)
    assert machine.connecting(101) == "wss://r"


def test_a_refused_token_is_reported_as_such_and_keeps_the_session() -> None:
    machine = live()
    machine.closed(None, 10)
    machine.connecting(11)
    machine.connected(11)
    assert machine.closed(4004, 12) == [Stopped()]
    assert (machine.phase, machine.session_id) == (Phase.STOPPED, "s")


def test_the_identify_is_reported_with_the_moment_it_was_sent() -> None:
    machine = SessionMachine(chance=random.Random(2), watermark=lambda session: None)
    machine.start(0)
    machine.connecting(1)
    machine.connected(1)
    hello = payload(10, {"heartbeat_interval": 40000})
    machine.control(read_envelope(hello), hello, 1)
    machine.permitted(5)
    refused = PermitSettled(outcome=PermitOutcome.TOKEN_REFUSED, sent_at=5, arrived_at=7)
    assert machine.closed(4004, 7) == [refused, Stopped()]


def identifying(*, beats: int = 0) -> SessionMachine:
    """A machine that sent its IDENTIFY at 100, and *beats* before that, none of which is acknowledged yet."""
    machine = SessionMachine(chance=random.Random(2), watermark=lambda session: None)
    machine.start(0)
    machine.connecting(1)
    machine.connected(1)
    hello = payload(10, {"heartbeat_interval": 40000})
    machine.control(read_envelope(hello), hello, 1)
    for number in range(beats):
        machine.heartbeat.heard = True
        assert machine.control(read_envelope(payload(1, None)), payload(1, None), 2 + number)
    machine.permitted(99.9)
    assert machine.identify_sent(100) == [SendHeartbeat(sequence=None)], "right behind it"
    return machine


def settled(actions: list[Action]) -> PermitSettled:
    [found] = [action for action in actions if isinstance(action, PermitSettled)]
    return found


@pytest.mark.parametrize("beats", [0, 1, 2])
def test_an_identify_has_arrived_when_the_beat_behind_it_is_acknowledged(beats: int) -> None:
    machine, ack = identifying(beats=beats), payload(11, None)
    for number in range(beats):
        machine.control(read_envelope(ack), ack, 110 + number)
    machine.control(read_envelope(ack), ack, 120)
    machine.control(read_envelope(ack), ack, 130)
    ready = payload(0, {"session_id": "s", "resume_gateway_url": "wss://r", "guilds": []}, 1, "READY")
    found = settled(machine.control(read_envelope(ready), ready, 140))
    assert found == PermitSettled(outcome=PermitOutcome.READY, sent_at=100, arrived_at=120)


def test_an_identify_has_arrived_when_ready_comes_without_an_acknowledgement() -> None:
    ready = payload(0, {"session_id": "s", "resume_gateway_url": "wss://r", "guilds": []}, 1, "READY")
    assert settled(identifying().control(read_envelope(ready), ready, 140)).arrived_at == 140


@pytest.mark.parametrize(
    ("end", "arrived"),
    [
        (lambda machine: machine.control(read_envelope(payload(9, False)), payload(9, False), 105), 105),
        (lambda machine: machine.closed(1000, 105), 105),
        (lambda machine: machine.closed(None, 105), 105),
        (lambda machine: machine.control(read_envelope(payload(7, None)), payload(7, None), 105), None),
        (lambda machine: machine.failed(105), None),
        (lambda machine: machine.tick(2000), None),
        (lambda machine: machine.stop(end_session=False), None),
    ],
    ids=["op 9", "closed", "dropped", "op 7 that crossed it", "we fail", "silence", "we stop"],
)
def test_an_identify_may_be_under_way_where_we_end_its_connection(
    end: Callable[[SessionMachine], list[Action]], arrived: float | None
) -> None:
    assert settled(end(identifying())).arrived_at == arrived


@pytest.mark.parametrize("hello", [{}, {"heartbeat_interval": 0}, {"heartbeat_interval": -1}, None, [], "x"])
def test_a_hello_without_a_usable_interval_is_unreadable(hello: object) -> None:
    machine = SessionMachine(chance=random.Random(1), watermark=lambda session: None)
    machine.start(0)
    machine.connecting(0)
    machine.connected(0)
    data = payload(10, hello)
    with pytest.raises(UnreadableError):
        machine.control(read_envelope(data), data, 0)


def probes(machine: SessionMachine, *, until: float, answered: bool) -> list[float]:
    """When beats are sent up to *until*; stops where the session ends."""
    sent = []
    while (now := machine.deadline()) <= until and machine.phase is Phase.LIVE:
        if any(isinstance(action, SendHeartbeat) for action in machine.tick(now)):
            sent.append(now)
            machine.heartbeat.heard = answered
    return sent


def test_a_quiet_session_is_probed_and_a_busy_one_is_not() -> None:
    quiet, busy = live(), live()
    for machine in (quiet, busy):
        machine.probe(True, 10)
    sent = probes(quiet, until=60, answered=True)
    assert len(sent) == 8 and all(after - before <= 6 for before, after in pairwise([10, *sent]))
    regular = busy.heartbeat.due_at
    while (now := busy.deadline()) < regular:
        busy.heartbeat.heard = True
        assert busy.tick(now) == []
    quiet.probe(False, 60)
    assert quiet.deadline() == quiet.heartbeat.due_at >= 60 + 30


def test_a_session_can_be_asked_at_once_and_then_it_is_known_to_have_been_there() -> None:
    machine = live()
    machine.heartbeat.heard = True
    machine.hurry(20)
    assert machine.deadline() == 20
    assert [type(action) for action in machine.tick(20)] == [SendHeartbeat]
    machine.heartbeat.heard = True
    assert machine.heartbeat.behind_seconds(20.1) == pytest.approx(0.1)
    assert not any(isinstance(action, SendHeartbeat) for action in machine.tick(20.2)), "once"


def test_a_probed_session_that_is_silent_is_given_up_within_seconds_and_kept() -> None:
    machine = live()
    machine.probe(True, 10)
    probes(machine, until=60, answered=False)
    assert (machine.phase, machine.session_id) == (Phase.IDLE, "s")
    assert machine.retry_at < 10 + 3 + DEAD_SECONDS + PROBE_SECONDS + 5


def test_probes_give_way_to_what_discord_allows() -> None:
    machine = live()
    while machine.budget.answers(10):
        pass
    machine.probe(True, 10)
    assert probes(machine, until=min(70, machine.heartbeat.due_at - 1), answered=True) == []


def test_how_far_a_session_may_be_behind_is_never_understated() -> None:
    """A frame is not timed: it came at some moment since the last look, and what was sent after it may be missing."""
    machine = live()
    heartbeat = machine.heartbeat
    assert heartbeat.behind_seconds(2) == 0
    assert heartbeat.behind_seconds(10) == 8
    heartbeat.heard = True  # at some moment after 10
    assert heartbeat.behind_seconds(13) == 3
    assert heartbeat.behind_seconds(14) == 4
    heartbeat.excused = True
    assert heartbeat.behind_seconds(20) == 10, "nobody has read"
    machine.closed(None, 20)
    machine.connecting(21)
    machine.connected(21)
    hello = payload(10, {"heartbeat_interval": 40000})
    machine.control(read_envelope(hello), hello, 21)
    heartbeat.heard = True  # a replay is old
    assert heartbeat.behind_seconds(25) == 15
    resumed = payload(0, {}, 9, "RESUMED")
    machine.control(read_envelope(resumed), resumed, 26)
    assert heartbeat.behind_seconds(27) == 1
