"""What a session sends, on simulated time, counted as Discord counts it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.send_budget import Command, SendBudget

VOICE = Command(op=Opcode.VOICE_STATE_UPDATE, payload=b"voice")
PRESENCE = Command(op=Opcode.PRESENCE_UPDATE, payload=b"presence")


def all_members(guild: int) -> Command:
    return Command(op=Opcode.REQUEST_GUILD_MEMBERS, payload=b"members", all_members_of=guild)


COMMANDS = st.sampled_from([VOICE, PRESENCE, all_members(1), all_members(2)])


@dataclass
class Session:
    """A session that beats on time, answers Discord's requests and sends each command as soon as the budget lets it."""

    interval: float
    first_beat: float
    budget: SendBudget = field(default_factory=SendBudget)
    now: float = 0.0
    connections: list[list[float]] = field(default_factory=list)
    """Moments of all sends, by connection."""
    sent: list[tuple[float, Command]] = field(default_factory=list)
    answered: int = 0

    def connect(self) -> None:
        self.connections.append([self.now])  # IDENTIFY or RESUME
        self.budget.greeted(self.interval)
        self.due = self.now + self.first_beat * self.interval

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due <= end:
            self.now = self.due
            self._beat()
        self.now = end

    def _beat(self) -> None:
        self.connections[-1].append(self.now)
        self.due = self.now + self.interval

    def asked_to_beat(self) -> None:
        if self.budget.answers(self.now):
            self.answered += 1
            self._beat()

    def command(self, command: Command) -> bool:
        if self.budget.free_at(command, self.now) > self.now:
            return False
        self.budget.sent(command, self.now)
        self.connections[-1].append(self.now)
        self.sent.append((self.now, command))
        return True


def most_within(moments: list[float], seconds: float) -> int:
    return max((sum(1 for other in moments if 0 <= moment - other < seconds) for moment in moments), default=0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 70)),
        st.tuples(st.just("command"), COMMANDS, st.integers(1, 150)),
        st.tuples(st.just("asked"), st.integers(1, 40)),
        st.tuples(st.just("connect")),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(interval=st.floats(2.0, 60.0), first=st.floats(0, 1, exclude_max=True), steps=STEPS)
def test_no_limit_is_ever_exceeded_and_no_heartbeat_waits(interval: float, first: float, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    session = Session(interval=interval, first_beat=first)
    session.connect()
    for step in steps:
        match step:
            case ("wait", seconds):
                session.pass_time(seconds)
            case ("command", command, times):
                for _ in range(times):
                    session.command(command)
            case ("asked", times):
                for _ in range(times):
                    session.asked_to_beat()
            case _:
                session.connect()
    session.pass_time(120)
    for moments in session.connections:
        assert most_within(moments, 60) <= 120
    presences = [moment for moment, command in session.sent if command == PRESENCE]
    assert most_within(presences, 20) <= 5
    for guild in (1, 2):
        assert most_within([moment for moment, command in session.sent if command == all_members(guild)], 30) <= 1


@given(seed=st.integers(), interval=st.floats(2.0, 60.0))
def test_payloads_that_arrive_up_to_two_seconds_closer_together_are_still_within_discords_limit(
    seed: int, interval: float
) -> None:
    chance = random.Random(seed)
    session = Session(interval=interval, first_beat=chance.random())
    session.connect()
    for _ in range(400):
        session.pass_time(chance.uniform(0, 0.6))
        session.command(VOICE)
    arrivals = sorted(moment + chance.uniform(0, 2) for moment in session.connections[0])
    assert most_within(arrivals, 60) <= 120


def test_at_discords_interval_a_hundred_and_more_commands_are_left() -> None:
    session = Session(interval=41.25, first_beat=0.5)
    session.connect()
    assert sum(session.command(VOICE) for _ in range(300)) == 113
    session.pass_time(61.9)
    assert not session.command(VOICE)
    session.pass_time(0.1)
    assert sum(session.command(VOICE) for _ in range(300)) == 113


def test_a_new_connection_begins_anew_but_for_what_counts_by_itself() -> None:
    session = Session(interval=41.25, first_beat=0.5)
    session.connect()
    assert sum(session.command(PRESENCE) for _ in range(9)) == 5
    assert session.command(all_members(1))
    assert sum(session.command(VOICE) for _ in range(300)) == 107
    session.connect()
    assert not session.command(PRESENCE) and not session.command(all_members(1))
    assert session.command(all_members(2))
    assert sum(session.command(VOICE) for _ in range(300)) == 112
    session.pass_time(22)
    assert session.budget.free_at(PRESENCE, session.now) == pytest.approx(62)  # the commands of a window are spent


def test_requested_heartbeats_give_way_to_those_that_are_due() -> None:
    session = Session(interval=41.25, first_beat=0.9)
    session.connect()
    assert sum(session.command(VOICE) for _ in range(300)) == 113
    for _ in range(50):
        session.asked_to_beat()
    assert session.answered == 3
    session.pass_time(60)
    assert most_within(session.connections[0], 60) <= 120


def test_commands_are_left_even_when_heartbeats_are_due_all_the_time() -> None:
    session = Session(interval=0.1, first_beat=0.0)
    session.connect()
    assert sum(session.command(VOICE) for _ in range(300)) == 10


@pytest.mark.parametrize(
    ("kind", "alike_of"),
    [(lambda number: VOICE, 0), (lambda number: PRESENCE, 1), (lambda number: all_members(1), 1)],
    ids=["voice", "presence", "all members"],
)
def test_the_moment_that_is_named_for_one_at_the_end_of_a_queue_is_the_one_at_which_it_is_sent(
    kind: Callable[[int], Command], alike_of: int
) -> None:
    session = Session(interval=41.25, first_beat=0.5)
    session.connect()
    session.pass_time(3)
    session.command(kind(0))
    session.pass_time(1)
    named = [
        session.budget.free_at(kind(number), session.now, ahead=number, alike=number * alike_of)
        for number in range(250 if not alike_of else 12)
    ]
    sent = []
    for number, moment in enumerate(named):
        session.pass_time(max(0.0, moment - session.now))
        assert session.command(kind(number)), (number, moment)
        sent.append(session.now)
    assert sent == named


def test_guilds_that_were_asked_for_long_ago_are_forgotten() -> None:
    budget = SendBudget()
    budget.greeted(41.25)
    for number in range(2000):
        command = all_members(number)
        now = number * 1.0
        assert budget.free_at(command, now) == now
        budget.sent(command, now)
    assert len(budget._all_members) < 40
