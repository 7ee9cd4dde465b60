"""A session that can be resumed, to and from the form in which it leaves the process: to others, or to its own disk."""

from __future__ import annotations

from typing import TypeVar, overload

from shard_runtime import contract
from shard_runtime.shard_ports import SavedSession

Form = TypeVar("Form", bound=contract.SessionCheckpoint)


@overload
def session_checkpoint(shard: int, session: SavedSession) -> contract.SessionCheckpoint: ...
@overload
def session_checkpoint(shard: int, session: SavedSession, *, form: type[Form]) -> Form: ...
def session_checkpoint(
    shard: int, session: SavedSession, *, form: type[contract.SessionCheckpoint] = contract.SessionCheckpoint
) -> contract.SessionCheckpoint:
    """*session* of *shard*, as a *form*."""
    return form(
        shard=shard,
        session_id=session.session_id,
        resume_url=session.resume_url,
        sequence=session.sequence,
        guilds=session.guilds,
        started_at=session.started_at,
        received=session.received,
        kept=session.kept,
        finished=list(session.finished),
        unsure=list(session.unsure),
        late=list(session.late),
    )


def saved_session(checkpoint: contract.SessionCheckpoint) -> SavedSession:
    """The session that *checkpoint* was made of."""
    return SavedSession(
        session_id=checkpoint.session_id,
        resume_url=checkpoint.resume_url,
        sequence=checkpoint.sequence,
        guilds=checkpoint.guilds,
        started_at=checkpoint.started_at,
        received=checkpoint.received,
        kept=checkpoint.kept,
        finished=tuple(checkpoint.finished),
        unsure=tuple(checkpoint.unsure),
        late=tuple(checkpoint.late),
    )
