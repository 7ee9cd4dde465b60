"""Every fault that Discord is known for, done to unmodified libraries: each goes on as known, and misses nothing.

All scenarios of a library run at once, each with a bot of its own, in one process under steady load; what became of it
is then judged scenario by scenario.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from conformance.bots import BotOptions, Bots, running_bots
from conformance.comparison import discrepancies
from conformance.isolation import Isolation
from conformance.libraries import RENEWED, RESUMED, Library
from conformance.scenarios import CODES, MISSED, REPLAY, SCENARIOS, end_zombie
from conformance.world import World, running_world

from discord_simulator.settings import Settings
from discord_simulator.truth import JournalEntry, Truth

_MAIN: Final = 4
"""Shards of the first bot, which meets what strikes everybody."""
_NAMES: Final = tuple(SCENARIOS)
_OWN: Final = {name: (_MAIN + number, _MAIN + 1 + number) for number, name in enumerate(_NAMES)}
"""Shard and count of each scenario's bot."""
_OUTAGES: Final = ("op 7 instead of HELLO", "connections refused", "READY late")
_OUTAGE_SHARD: Final = {name: number for number, name in enumerate(_OUTAGES, start=1)}
_SETTINGS: Final = Settings(
    guilds=160,
    max_concurrency=64,
    bucket_seconds=0.1,
    heartbeat_interval_milliseconds=2000,
    heartbeat_tolerance=5,
    replay_events=REPLAY,
    guild_bytes=2500,
    session_expiry_seconds=60,
    acknowledgements_behind_bursts=True,
)
_ZOMBIE_SECONDS: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One run of all scenarios."""

    truth: Truth
    bots: Bots
    journals: dict[str, list[JournalEntry]]
    """Since the fault, by scenario."""
    members: dict[int, int]
    """Members of the guilds that were asked for."""

    def handshakes(self, scenario: str) -> tuple[str, ...]:
        journal = self.journals[scenario]
        return tuple(f"{e.what} {e.outcome}" for e in journal if e.what in ("identify", "resume"))

    def client_closes(self, scenario: str) -> list[str]:
        return [entry.outcome for entry in self.journals[scenario] if entry.what == "clientClose"]


class _Run:
    def __init__(self, *, library: Library, world: World, bots: Bots) -> None:
        self._library, self._world, self._bots = library, world, bots
        self._begun: dict[str, int] = {}
        self._members: dict[int, int] = {}

    def _journal(self, scenario: str) -> list[JournalEntry]:
        shard, count = _OWN.get(scenario) or (_OUTAGE_SHARD[scenario], _MAIN)
        return self._world.journal(shard, count, since=self._begun[scenario])

    def _closes(self, scenario: str) -> list[JournalEntry]:
        return [entry for entry in self._journal(scenario) if entry.what == "clientClose"]

    async def _wait(self, what: str, unsettled: Callable[[], list[Any]], *, seconds: float = 20.0) -> None:
        await self._world.until(
            lambda: not unsettled(), seconds=seconds, bots=self._bots, what=lambda: f"{what}: {unsettled()[:5]}"
        )

    def _behind(self) -> list[str]:
        """Sessions that are alive and whose bot has not seen all that they were sent."""
        behind = []
        places = [(0, shard, _MAIN) for shard in range(_MAIN)]
        places += [(number, *_OWN[name]) for number, name in enumerate(_NAMES, start=1)]
        for bot, shard, count in places:
            if bot in self._bots.stopped:
                continue
            session = self._world.session(shard, count)
            seen = self._bots.sessions[bot, shard]
            if session is None or session.connection is None:
                behind.append(f"bot {bot} shard {shard}/{count} is not connected")
            elif not seen or (seen[-1].id, seen[-1].last) != (session.id, session.sequence):
                behind.append(f"bot {bot} shard {shard}/{count}: {session.sequence}, {seen and seen[-1].last}")
        return behind

    def _unfinished(self) -> list[str]:
        """Scenarios that have not come to their end yet."""
        unfinished = []
        for number, name in enumerate(_NAMES, start=1):
            if name not in self._begun:
                continue
            expected = self._library.expected(name)
            came = [e for e in self._journal(name) if e.what in ("identify", "resume")]
            stops = not expected and SCENARIOS[name].strike is not SCENARIOS["untouched"].strike
            done = number in self._bots.stopped if stops and name.startswith("closed") else len(came) >= len(expected)
            if not done:
                unfinished.append(f"{name}: {[e.outcome for e in came]}")
        return unfinished

    async def all(self) -> Batch:
        await self._wait("start", self._behind, seconds=30)
        self._world.control("load", rate=100, sigma=0.5, mix={"PRESENCE_UPDATE": 5})
        self._ask_members()
        self._strike(gentle=False)
        await self._wait("zombie", lambda: [] if self._closes("zombie") else ["not given up"])
        end_zombie(self._world, *_OWN["zombie"])
        await self._wait("scenarios", self._unfinished)
        self._strike(gentle=True)
        self._change_guilds()
        await self._outages()
        self._world.control("load", rate=0)
        self._world.control("faults", action="clear")
        for shard, count in [*((shard, _MAIN) for shard in range(_MAIN)), *_OWN.values()]:
            self._world.say(shard=shard, count=count, messages=2)
        self._world.server.settle()
        await self._wait("the last events", self._behind)
        return Batch(
            truth=self._world.truth(),
            bots=self._bots,
            journals={name: self._journal(name) for name in (*_NAMES, *_OUTAGES)},
            members=self._members,
        )

    def _ask_members(self) -> None:
        first, second = (self._world.gateway.roster.of_shard(shard, _MAIN)[0] for shard in (0, 3))
        self._members = {first.id: first.members, second.id: 10}
        self._bots.ask_members(bot=0, guild=first.id, nonce="all")
        self._bots.ask_members(bot=0, guild=second.id, nonce="some", query="user", limit=10)

    def _change_guilds(self) -> None:
        """Late enough that discord.py no longer takes a join for a part of its start."""
        self._world.control("guilds", add=2)
        self._world.control("guilds", unavailable=3)
        self._world.control("guilds", unavailable=0)
        self._world.control("guilds", remove=1)

    def _strike(self, *, gentle: bool) -> None:
        """Each fault and the events that happen at that moment, before anybody can have come back."""
        for name, scenario in SCENARIOS.items():
            if scenario.gentle is not gentle:
                continue
            shard, count = _OWN[name]
            self._begun[name] = len(self._world.truth().journal)
            scenario.strike(self._world, shard, count)
            self._world.say(shard=shard, count=count, messages=scenario.missed)
        self._world.server.settle()

    async def _outages(self) -> None:
        """What strikes whoever connects, so one after another, once all else is quiet."""
        for name, faults in (
            ("op 7 instead of HELLO", [{"action": "reconnectInsteadOfHello", "seconds": 10, "times": 1}]),
            ("connections refused", [{"action": "refuseConnections", "seconds": 30, "times": 1}]),
            ("READY late", [{"action": "delayReady", "seconds": 8, "milliseconds": [0, 1000]}]),
        ):
            shard = _OUTAGE_SHARD[name]
            self._begun[name] = len(self._world.truth().journal)
            for fault in faults:
                self._world.control("faults", **fault)
            strike = "invalidate" if name == "READY late" else "drop"
            self._world.control("faults", action=strike, shard=shard, count=_MAIN)
            self._world.say(shard=shard, count=_MAIN, messages=MISSED)
            await self._wait(name, lambda name=name: [] if self._settled_handshakes(name) else [self._journal(name)])
            await self._wait(name, self._behind_soon)

    def _settled_handshakes(self, name: str) -> bool:
        return any(e.outcome == "accepted" for e in self._journal(name) if e.what in ("identify", "resume"))

    def _behind_soon(self) -> list[str]:
        return [text for text in self._behind() if "not connected" in text]


async def _run(library: Library, isolation: Isolation) -> Batch:
    options = [BotOptions(shards=range(_MAIN), count=_MAIN)]
    options += [BotOptions(shards=[shard], count=count) for shard, count in _OWN.values()]
    async with (
        running_world(_SETTINGS, isolation=isolation) as world,
        running_bots(
            library,
            isolation=isolation,
            port=world.port,
            token=_SETTINGS.token,
            bots=options,
            compression=library.compressions[0],
            zombie_seconds=_ZOMBIE_SECONDS,
        ) as bots,
    ):
        return await _Run(library=library, world=world, bots=bots).all()


_BATCHES: Final[dict[str, Batch | Exception]] = {}


@pytest.fixture
def batch(installed: Library, isolation: Isolation) -> Batch:
    """Run once for each library, however pytest orders the tests; a run that failed is not tried again."""
    if installed.name not in _BATCHES:
        try:
            _BATCHES[installed.name] = asyncio.run(_run(installed, isolation))
        except ExceptionGroup as problems:
            _BATCHES[installed.name] = problems.exceptions[0]
    found = _BATCHES[installed.name]
    if isinstance(found, Exception):
        pytest.fail(f"the run as a whole: {found!r}", pytrace=False)
    return found


@pytest.mark.parametrize("scenario", _NAMES)
def test_it_goes_on_as_it_is_known_to(batch: Batch, library: Library, scenario: str):
    assert batch.handshakes(scenario) == library.expected(scenario)


@pytest.mark.parametrize("scenario", _NAMES)
def test_it_saw_all_that_its_sessions_were_sent(batch: Batch, scenario: str):
    shard, count = _OWN[scenario]
    number = 1 + _NAMES.index(scenario)
    assert discrepancies(batch.truth, batch.bots, bot=number, shard=shard, count=count) == []
    assert sum(len(session.sequences) for session in batch.truth.sessions if session.shard == shard) > 5


@pytest.mark.parametrize("scenario", [name for name in _NAMES if name.startswith("closed")])
def test_a_fatal_code_stops_it_with_that_code(batch: Batch, library: Library, scenario: str):
    number, code = 1 + _NAMES.index(scenario), int(scenario.split()[1])
    stopped = batch.bots.stopped.get(number)
    if library.expected(scenario):
        assert stopped is None
    else:
        assert stopped is not None
        assert stopped["code"] in (code, None)


@pytest.mark.parametrize("shard", range(_MAIN))
def test_its_many_shards_saw_all_that_they_were_sent(batch: Batch, shard: int):
    assert discrepancies(batch.truth, batch.bots, bot=0, shard=shard, count=_MAIN) == []


def test_a_zombie_is_given_up_with_a_code_that_keeps_the_session(batch: Batch, library: Library):
    assert batch.client_closes("zombie") == [library.zombie_closes]


def test_what_it_missed_is_replayed(batch: Batch, library: Library):
    counters = batch.truth.counters
    resumed = [name for name in _NAMES if library.expected(name) == RESUMED and not name.startswith("op")]
    assert counters.replayed >= MISSED * len(resumed) * 0.9


def test_members_that_it_asked_for_came_to_it_alone(batch: Batch, library: Library):
    for guild, members in batch.members.items():
        shard = (guild >> 22) % _MAIN
        (session,) = batch.bots.sessions[0, shard][:1]
        assert "GUILD_MEMBERS_CHUNK" in session.names
        if library.name == "discord.py":
            assert {o["count"] for o in batch.bots.objects[0, "members"] if o["id"] == str(guild)} == {members}
    others = [session for (bot, _), sessions in batch.bots.sessions.items() for session in sessions if bot != 0]
    assert not any("GUILD_MEMBERS_CHUNK" in session.names for session in others)


def test_its_own_objects_are_made_of_every_message_and_join(batch: Batch, library: Library):
    if not library.shows_objects:
        pytest.skip("it has none")
    sessions = [session for (bot, _), found in batch.bots.sessions.items() if bot == 0 for session in found]
    messages = [id for session in sessions for id in session.ids_of("MESSAGE_CREATE")]
    assert len(messages) > 100
    assert sorted(o["id"] for o in batch.bots.objects[0, "message"]) == sorted(messages)
    assert len(batch.bots.objects[0, "join"]) == 2


def test_op_7_may_come_instead_of_hello(batch: Batch, library: Library):
    assert batch.handshakes("op 7 instead of HELLO")[-1:] == library.after_op_7_for_hello


def test_a_refused_connection_is_tried_again(batch: Batch, library: Library):
    assert batch.handshakes("connections refused") in library.unreachable
    assert batch.truth.counters.connections_refused > 0


def test_a_late_ready_is_waited_for(batch: Batch):
    assert batch.handshakes("READY late") == RENEWED


def test_discord_had_nothing_to_complain_of(batch: Batch, library: Library):
    """No close beyond those that the scenarios made; no command that the simulator could not read."""
    closes = Counter({str(code): 1 for code in CODES})
    closes["dropped"] = 5  # "dropped", "killed", "evicted" and two outages
    closed = Counter(batch.truth.counters.closed_by_server)
    # After an op 7 too, where the bot had not closed by itself, or had resumed on another connection before.
    closed["4000"] = min(closed["4000"], 1)
    if library.name == "@discordeno/gateway":
        # Told to reconnect before HELLO, it may have two calls wait for one socket, and resumes on it twice.
        closed["4005"] = min(closed["4005"], 1)
    assert closed == closes


def test_no_session_start_was_wasted(batch: Batch):
    counters = batch.truth.counters
    assert counters.identifies_rejected == {}
    assert counters.heartbeat_timeouts == 0
    assert counters.identifies_accepted == len(batch.truth.sessions)


def test_it_understood_every_payload(batch: Batch, library: Library):
    """Libraries log what they could not make sense of."""
    assert [log for log in batch.bots.logs if not library.is_harmless(log["log"])] == []
