"""What the bots saw against what the simulator says it sent: sessions, sequences, names."""

from __future__ import annotations

from typing import Final

from conformance.bots import Bots, SeenSession

from discord_simulator.truth import SessionTruth, Truth

_TURN: Final = 2
"""Milliseconds by which the truth's rounded times of one moment may differ."""
_ON_ITS_WAY: Final = 1000
"""Milliseconds before a cut connection whose events may have been lost with it."""


def discrepancies(truth: Truth, bots: Bots, *, bot: int, shard: int, count: int, disordered: bool = False) -> list[str]:
    """Every way in which a shard's reports differ from the truth; none if all is well.

    *disordered* leaves the order in which the bot reported out of account.
    """
    sent = [session for session in truth.sessions if (session.shard, session.count) == (shard, count)]
    seen = bots.sessions[bot, shard]
    if [session.id for session in sent] != [session.id for session in seen]:
        return [f"sessions {[session.id for session in sent]} were seen as {[session.id for session in seen]}"]
    early = bots.early[bot, shard]
    found = [] if disordered or not early else [f"{early} came before READY"]
    for of_truth, of_bot in zip(sent, [s.in_order(early) for s in seen] if disordered else seen, strict=True):
        found += [f"session {of_truth.id}: {problem}" for problem in _in_session(truth, of_truth, of_bot)]
    return found


def _in_session(truth: Truth, sent: SessionTruth, seen: SeenSession) -> list[str]:
    shown = [sequence for sequence in seen.sequences if sequence is not None]
    if shown and shown != list(range(1, len(seen.names) + 1)):
        missing = sorted(set(range(1, max(shown) + 1)) - set(shown))
        return [f"sequences are not 1, 2, 3 …: {missing=}, {len(shown) - len(set(shown))} came again"]
    owed_until = _owed_until(truth, sent)
    for sequence, event in zip(sent.sequences, sent.events, strict=True):
        index = event - truth.events.first
        name = truth.names[truth.events.names[index]]
        if sequence > len(seen.names):
            if truth.since + truth.events.at[index] < owed_until:
                return [f"{name} was sent as {sequence}, but {len(seen.names)} is the last that was seen"]
        elif seen.names[sequence - 1] != name:
            return [f"{sequence} was sent as {name} and seen as {seen.names[sequence - 1]}"]
    return []


def _owed_until(truth: Truth, session: SessionTruth) -> float:
    """Until when (unix milliseconds) the bot had to see what the session was sent.

    That is for ever, unless nobody came back for it after its connection had ended.
    """
    last = [
        entry
        for entry in truth.journal
        if entry.session == session.id and (entry.what.endswith("Close") or entry.outcome == "accepted")
    ][-1]
    if not last.what.endswith("Close"):
        return float("inf")
    cut = last.what == "serverClose" and last.outcome == "dropped"
    return last.at - (_ON_ITS_WAY if cut else _TURN)
