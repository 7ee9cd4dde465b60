"""One shard's session: what to do next, whatever Discord does.

Rules of this file. Everything that changes a shard's state lives here; nothing here knows a socket, a clock or a token.
What comes in: moments of a connection's life, envelopes, and time as an argument (``now``, seconds on one monotonic
clock). What goes out: :mod:`actions <shard_runtime.protocol.actions>`, to be carried out at once and in order.

Theory of operation. A session (id, sequence, replay buffer at Discord) outlives its connections. A connection goes
CONNECTING, GREETING until HELLO, then RESUMING if a session is held, else WAITING for a permit and IDENTIFYING, then
LIVE. ``TRANSITIONS`` is the whole of that. Every way a connection can end leads back to IDLE, and ``ENDINGS`` says for
each what becomes of the session, how long to pause and whether we close.

IDENTIFY is rationed, RESUME is free. So an IDENTIFY needs a permit, and the gate has to know when Discord got it, since
the network may hold it up: a heartbeat goes right behind it, whose acknowledgement tells. Once it is sent, READY is
waited for as long as the connection lives (in an outage Discord may take minutes); and a held session is given up only
when Discord says that it is gone (op 9 ``false``, 4003, 4007, 4009), or when several resumes that reached Discord have
failed, over a longer time than a session can live.

A dispatch does not pass through the table: the driver takes it while ``receiving`` is true and moves ``sequence`` on
after it has been handed over, so that what was not handed over is replayed by the next RESUME.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Final

from shard_runtime.contract import NOTHING_KEPT, Kept, PermitOutcome
from shard_runtime.ports import Chance
from shard_runtime.protocol.actions import (
    Action,
    Close,
    Lost,
    NeedPermit,
    Opened,
    Passed,
    PermitSettled,
    Replayed,
    Resumed,
    SendHeartbeat,
    SendIdentify,
    SendResume,
    Stopped,
)
from shard_runtime.protocol.backoff import Backoff
from shard_runtime.protocol.close_codes import END_SESSION, KEEP_SESSION, TOKEN_REFUSED, After, after_close
from shard_runtime.protocol.envelope import Envelope
from shard_runtime.protocol.errands import Errands
from shard_runtime.protocol.heartbeat import Heartbeat
from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.payloads import read_hello, read_invalid_session, read_ready
from shard_runtime.protocol.send_budget import SendBudget
from shard_runtime.protocol.transitions import ENDINGS, TRANSITIONS, Ending, Input, Pause, Phase

HELLO_SECONDS: Final = 30.0
"""From the open connection to HELLO."""

READY_SECONDS: Final = 600.0
"""From IDENTIFY to READY on a connection that lives. A shorter limit would spend another IDENTIFY on a slow Discord."""

RESUMED_SECONDS: Final = 60.0
"""From RESUME, or the last replayed event, to the next one or RESUMED."""

RESUME_PATIENCE_SECONDS: Final = 300.0
"""How long resumes that reached Discord may fail before the session is given up. Discord keeps a session for "a few
minutes"; one was seen to drop every resume for 90 s before it was declared invalid."""

RESUMES_TRIED: Final = 5
"""How many resumes have to fail besides: after an outage of the network one failure says nothing of the session."""

TAKING_TRIES: Final = 5
"""How often an event is offered at which our own side fails, before it is given up so that the session can go on."""

SESSION_DISPATCHES: Final = frozenset({"READY", "RESUMED"})
"""Dispatches that are the session's own and pass through :meth:`SessionMachine.control`."""


PEER_IS_DONE: Final = frozenset({Input.CLOSED, Input.CLOSED_GONE, Input.INVALID})
"""Ends after which nothing that we sent before has an effect any more: the other end has answered or is gone. Where we
end a connection, what is under way may get there before the end does."""


class SessionMachine:
    """State of one shard's session and of its current connection."""

    def __init__(
        self,
        *,
        chance: Chance,
        watermark: Callable[[str], int | None],
        session_id: str | None = None,
        resume_url: str | None = None,
        sequence: int = 0,
        kept: Kept = NOTHING_KEPT,
        endings: Counter[str] | None = None,
    ) -> None:
        """Hold the session to resume, if any; *sequence* is where to resume from.

        *watermark* gives, for a session id, the number that heartbeats carry: Discord may or may not trim its replay
        buffer by it, so it never exceeds what is safe here. Connections that are over are counted in *endings*, which
        machines may share, by the name of their :class:`Input`.
        """
        self._watermark = watermark
        self._endings: Counter[str] = Counter() if endings is None else endings
        self._backoff = Backoff(chance)
        self.heartbeat = Heartbeat(chance)
        self.budget = SendBudget()
        self.errands = Errands(kept)
        self.phase = Phase.STOPPED
        self.session_id = session_id
        self.resume_url = resume_url
        self.sequence = sequence
        """The last received sequence of the session; the driver moves it on with each dispatch it hands over."""
        self.receiving = False
        """Whether dispatches belong to the held session."""
        self.retry_at = 0.0
        self.identified_at: float | None = None
        """When the IDENTIFY was sent whose answer is waited for."""
        self._arrived_at: float | None = None
        """When something came that Discord sends only after it got that IDENTIFY."""
        self._proof = 0
        """Acknowledgements from now to the one that shows it; 0 where none will."""
        self.close_code: int | None = None
        self.identifies = 0
        self.resumes = 0
        self.repeated = 0
        """Dispatches that a resume replayed although they had been received."""
        self.missed = 0
        """Sequence numbers that never came."""
        self.unreadable = 0
        """Frames given up because they were no gateway payload, also on the second try."""
        self._timeout_at = math.inf
        self._progress = 0
        self._steady_since: float | None = None
        self._resume_failing_since: float | None = None
        self._failed_resumes = 0
        self._on_main_url = False
        self._unreadable_at: int | None = None
        self._given_up = 0
        """Frames given up there, on this connection."""
        self.wary_until = 0
        """Up to this sequence dispatches are handed over one by one, since our own side failed at one of them."""
        self._refused: int | None = None
        self._refusals = 0

    # --- Beginning and end ------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin, or begin again after a stop; a held session is resumed."""
        self._move(Input.START)
        self.close_code = None
        self.heartbeat.begin(now)
        self._resumes_may_work()
        self.retry_at = now + self._backoff.first()

    def stop(self, *, end_session: bool) -> list[Action]:
        """Stop for good: the connection closes with 1000 and the session ends, or with 4000 and Discord keeps it."""
        if self.phase is Phase.STOPPED:
            return []
        actions = self._settle(PermitOutcome.REJECTED)
        if self.phase not in (Phase.IDLE, Phase.CONNECTING):
            actions.append(Close(END_SESSION if end_session else KEEP_SESSION))
        if end_session:
            self._forget()
        self._disconnected(Input.STOP)
        return [*actions, Stopped()]

    # --- The connection ---------------------------------------------------------------------------------------------

    def connecting(self, now: float) -> str | None:
        """A connection is about to be opened: to the returned resume URL, or to the main one where None."""
        self._move(Input.CONNECT)
        if self.session_id is None or self._on_main_url:
            return None
        return self.resume_url

    def give_up_session(self, now: float) -> list[Action]:
        """Forget a session whose resumes reached Discord and failed for too long. Ask before each connection."""
        since = self._resume_failing_since
        if self.session_id is None or since is None or self._failed_resumes < RESUMES_TRIED:
            return []
        if now - since <= RESUME_PATIENCE_SECONDS:
            return []
        return self._forget(f"its resumes failed for {now - since:.0f} s")

    def connected(self, now: float) -> None:
        self._move(Input.CONNECTED)
        self.heartbeat.connected(now)
        self._timeout_at = now + HELLO_SECONDS

    def unreachable(self, now: float) -> list[Action]:
        """The connection did not come about."""
        return self._end(Input.UNREACHABLE, now)

    def closed(self, code: int | None, now: float) -> list[Action]:
        """Discord ended the connection with *code*; None when it dropped without one."""
        if self.phase is Phase.STOPPED:
            return []
        self.close_code = code
        after = after_close(code)
        if after is After.STOP:
            self._identify_arrived(now)
            self._backoff.failed()
            actions = self._settle(PermitOutcome.TOKEN_REFUSED if code == TOKEN_REFUSED else PermitOutcome.REJECTED)
            self._disconnected(Input.REFUSED)
            return [*actions, Stopped()]
        return self._end(Input.CLOSED_GONE if after is After.IDENTIFY else Input.CLOSED, now)

    def garbled(self, now: float, *, stream_broken: bool) -> list[Action]:
        """A frame was no gateway payload.

        A resume asks Discord to send it again; the same trouble at the same place means that it was sent so, and the
        frame is given up, unless the compressed stream is broken and nothing after it could be read.
        """
        if self.receiving and not stream_broken and self._unreadable_at == self.sequence:
            self.unreadable += 1
            self._given_up += 1
            return []
        self._unreadable_at, self._given_up = self.sequence, 0
        return self._end(Input.GARBLED, now)

    def left_out(self, count: int) -> tuple[int, int]:
        """The next *count* numbers never come: how many of them were frames that were given up, and how many Discord
        left out of a live session. A replay leaves out what earlier RESUMEDs used up, which is no loss."""
        self.missed += count
        unreadable = min(count, self._given_up) if self._unreadable_at == self.sequence else 0
        return unreadable, count - unreadable if self.phase is Phase.LIVE else 0

    def refused(self, first: int, last: int) -> None:
        """Our own side failed at taking the dispatches *first* to *last*; :meth:`failed` follows."""
        self.wary_until = max(self.wary_until, last)
        if first < last:
            return  # which of them it is will show
        if first != self._refused:
            self._refused, self._refusals = first, 0
        self._refusals += 1

    def gives_up(self, sequence: int) -> bool:
        """Whether *sequence* is not to be offered again: the session would come to this event for ever."""
        return sequence == self._refused and self._refusals >= TAKING_TRIES

    def failed(self, now: float) -> list[Action]:
        """Our own side failed at something on this connection; the session goes on from what was handed over."""
        if self.phase is Phase.STOPPED:
            return []
        return self._end(Input.FAILED, now)

    # --- What comes over it -----------------------------------------------------------------------------------------

    def control(self, envelope: Envelope, payload: bytes, now: float) -> list[Action]:
        """Everything but the dispatches that the driver takes itself.

        What does not fit the phase (a second HELLO, a READY out of nowhere) is ignored, as unknown ops are. Raises
        :class:`~shard_runtime.protocol.envelope.UnreadableError` when *payload* is not what its op requires.
        """
        match envelope.op:
            case Opcode.DISPATCH:
                return self._session_dispatch(envelope, payload, now)
            case Opcode.HEARTBEAT:
                # Without room for it, the beat that is due soon has to do.
                return [self._beat(now)] if self.budget.answers(now) else []
            case Opcode.RECONNECT:
                return self._end(Input.RECONNECT, now)
            case Opcode.INVALID_SESSION:
                resumable = read_invalid_session(payload) and self.session_id is not None
                return self._end(Input.INVALID_RESUMABLE if resumable else Input.INVALID, now)
            case Opcode.HELLO:
                return self._hello(read_hello(payload), now) if self.phase is Phase.GREETING else []
            case Opcode.HEARTBEAT_ACK:
                self.heartbeat.acknowledged(now)
                if self._proof:
                    self._proof -= 1
                    if not self._proof:
                        self._identify_arrived(now)
        return []

    def _hello(self, interval: float, now: float) -> list[Action]:
        self.heartbeat.greeted(interval, now)
        self.budget.greeted(interval)
        if self.session_id is None:
            self._move(Input.HELLO_WITHOUT_SESSION)
            self._timeout_at = math.inf
            self._steady_since = now
            return [NeedPermit()]
        self._move(Input.HELLO_WITH_SESSION)
        self._timeout_at = now + RESUMED_SECONDS
        self._progress = self.sequence
        self._given_up = 0
        self.receiving = True
        return [SendResume(session_id=self.session_id, sequence=self.sequence)]

    def permitted(self, now: float) -> list[Action]:
        """A permit is here; to be called only while WAITING."""
        self._move(Input.PERMIT)
        self.identifies += 1
        self.identified_at = now
        self._timeout_at = now + READY_SECONDS
        return [SendIdentify()]

    def identify_sent(self, now: float) -> list[Action]:
        """The IDENTIFY was just written to the connection, and nothing after it."""
        if self.phase is not Phase.IDENTIFYING:
            return []
        self.identified_at = now
        if not self.budget.answers(now):
            return []  # READY has to do
        beat = self._beat(now)
        self._proof = self.heartbeat.unacknowledged
        return [beat]

    def _session_dispatch(self, envelope: Envelope, payload: bytes, now: float) -> list[Action]:
        sequence = envelope.s or 0
        if envelope.t == "READY" and self.phase is Phase.IDENTIFYING:
            ready = read_ready(payload)
            self._move(Input.READY)
            self.session_id, self.resume_url, self.sequence = ready.session_id, ready.resume_url, sequence
            self.receiving = True
            self._live(now)
            self._identify_arrived(now)
            return [*self._settle(PermitOutcome.READY), Opened(ready=ready)]
        if not self.receiving or self.session_id is None or sequence <= self.sequence:
            return self._resumed(now) if envelope.t == "RESUMED" and self.phase is Phase.RESUMING else []
        if envelope.t == "READY":
            # Replayed because nothing of the session had been acknowledged.
            ready = read_ready(payload)
            if ready.session_id != self.session_id:
                return []
            self.sequence = sequence
            return [Replayed(ready=ready)]
        missing = sequence - self.sequence - 1
        unreadable, lost = self.left_out(missing)
        passed = Passed(
            session_id=self.session_id, sequence=sequence, missing=missing, unreadable=unreadable, lost=lost
        )
        self.sequence = sequence
        return [passed, *(self._resumed(now) if self.phase is Phase.RESUMING else ())]

    def _resumed(self, now: float) -> list[Action]:
        assert self.session_id is not None
        self._move(Input.RESUMED)
        self.resumes += 1
        self._live(now)
        return [Resumed(session_id=self.session_id)]

    def _live(self, now: float) -> None:
        self._timeout_at = math.inf
        self._steady_since = now
        self.heartbeat.current(now)
        self._on_main_url = False
        self._resumes_may_work()

    def _resumes_may_work(self) -> None:
        self._resume_failing_since = None
        self._failed_resumes = 0

    # --- Time -------------------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`tick` (or, while IDLE, a connection) is due; infinite where nothing is."""
        if self.phase is Phase.IDLE:
            return self.retry_at
        return min(self.heartbeat.due_at, self.heartbeat.probe_at, self._timeout_at)

    def tick(self, now: float) -> list[Action]:
        """Do what is due at *now*."""
        if now >= self._timeout_at:
            if self.phase is not Phase.RESUMING or self.sequence == self._progress:
                return self._end(Input.TIMEOUT, now)
            self._progress = self.sequence
            self._timeout_at = now + RESUMED_SECONDS
        if now >= self.heartbeat.due_at:
            if self.heartbeat.unanswered(now):
                return self._end(Input.SILENCE, now)
            return [self._beat(now)]
        if now >= self.heartbeat.probe_at:
            return self._probe(now)
        return []

    def probe(self, wanted: bool, now: float) -> None:
        """Make sure often that the live session is there, while *wanted*."""
        self.heartbeat.probe(wanted, now)

    def hurry(self, now: float) -> None:
        """Make sure now that the live session is there."""
        self.heartbeat.hurry(now)

    def _probe(self, now: float) -> list[Action]:
        if self.heartbeat.dead(now):
            return self._end(Input.SILENCE, now)
        # It counts as a beat out of turn, to which commands give way; without room for one the next has to do.
        return [self._beat(now)] if self.heartbeat.wants_probe(now) and self.budget.answers(now) else []

    def _beat(self, now: float) -> SendHeartbeat:
        self.heartbeat.sent(now)
        return SendHeartbeat(sequence=None if self.session_id is None else self._watermark(self.session_id))

    # --- Changes of state -------------------------------------------------------------------------------------------

    def _move(self, by: Input) -> None:
        self.phase = TRANSITIONS[self.phase][by]

    def _disconnected(self, by: Input) -> None:
        self._move(by)
        self.receiving = False
        self.identified_at = None
        self.heartbeat.disconnected()
        self._timeout_at = math.inf
        self._steady_since = None

    def _end(self, by: Input, now: float) -> list[Action]:
        """The connection is over: see ``ENDINGS``."""
        if by not in TRANSITIONS[self.phase]:
            return []
        self._endings[by.name.lower()] += 1
        ending = ENDINGS[by]
        if by in PEER_IS_DONE:
            self._identify_arrived(now)
        actions = self._settle(PermitOutcome.REJECTED)
        if ending.close and self.phase not in (Phase.IDLE, Phase.CONNECTING):
            actions.append(Close(KEEP_SESSION))
        gone = [] if ending.keeps_session else self._forget(self._cause(by))
        self._backoff.ended(steady_seconds=None if self._steady_since is None else now - self._steady_since)
        if gone:
            self._backoff.cleared()  # a plain answer at last: what failed before was the session's fault
        else:
            self._note_failed_resume(by, ending, now)
        self.retry_at = now + self._backoff.pause(ending.pause, holds_session=self.session_id is not None)
        self._disconnected(by)
        return actions + gone

    def _note_failed_resume(self, by: Input, ending: Ending, now: float) -> None:
        if self.phase is Phase.RESUMING and by is not Input.FAILED:
            self._failed_resumes += 1
            if self._resume_failing_since is None:
                self._resume_failing_since = now
        if self.phase in (Phase.CONNECTING, Phase.GREETING, Phase.RESUMING) and ending.pause is not Pause.NONE:
            # What did not get through by one way is tried by the other: the resume URL may be gone, the session not.
            self._on_main_url = not self._on_main_url

    def _settle(self, outcome: PermitOutcome) -> list[Action]:
        """What became of the IDENTIFY that is out, if one is."""
        sent, self.identified_at = self.identified_at, None
        arrived, self._arrived_at = self._arrived_at, None
        self._proof = 0
        return [] if sent is None else [PermitSettled(outcome=outcome, sent_at=sent, arrived_at=arrived)]

    def _identify_arrived(self, now: float) -> None:
        """The IDENTIFY that is out, if one is, is at Discord now at the latest, or will never be."""
        self._proof = 0
        if self.identified_at is not None and self._arrived_at is None:
            self._arrived_at = now

    def _cause(self, by: Input) -> str:
        if by is Input.CLOSED_GONE:
            return f"Discord closed it with {self.close_code}"
        return "Discord answered that it is invalid" if by is Input.INVALID else by.value

    def _forget(self, cause: str = "ended") -> list[Action]:
        session, sequence = self.session_id, self.sequence
        self.session_id, self.resume_url, self.sequence = None, None, 0
        self._resumes_may_work()
        self._on_main_url = False
        self._unreadable_at = None
        self.wary_until = 0
        self._refused = None
        self.errands.lost()
        return [] if session is None else [Lost(session_id=session, sequence=sequence, cause=cause)]
