"""Whether what is seen can be true together, and which number the next generation gets.

The record is the one truth about generations. It can be lost, or come back from a backup, older than the world. Every
write raises its epoch, and pods persist the epoch they have seen, so a record that went back is recognised by any pod
that saw a later one. Where the evidence conflicts nothing is started or deleted until a person decides.
"""

from __future__ import annotations

from gateway_operator.api.generation import Generation
from gateway_operator.planning.health import answers
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation
from shard_runtime.contract import Record


def conflict(observation: Observation) -> Hold | None:
    """The first contradiction found, with what a person can do about it."""
    name = observation.metadata.name
    numbers = sorted(generation.number for generation in observation.generations)
    sets = ", ".join(f"{name}-g{number}" for number in numbers)
    if observation.record is None:
        if not numbers:
            return None
        return Hold(
            reason="RecordMissing",
            message=f"ConfigMap {name}-active is missing but StatefulSets exist ({sets}). "
            "Restore it, or delete the StatefulSets to start anew.",
        )
    record = observation.record.record
    if record is None:
        return Hold(
            reason="RecordUnreadable",
            message=f"ConfigMap {name}-active cannot be read: {observation.record.problem or 'no record.json'}. "
            "Restore it; nothing is started or deleted before.",
        )
    return _contradiction(observation, record, numbers, sets)


def _contradiction(observation: Observation, record: Record, numbers: list[int], sets: str) -> Hold | None:
    name = observation.metadata.name

    def conflicting(message: str) -> Hold:
        return Hold(reason="ConflictingEvidence", message=message)

    if record.active is None or (record.target is not None and record.target <= record.active):
        return conflicting(f"The record names generation {record.active} as active and {record.target} as target.")
    if numbers and record.active not in numbers:
        return conflicting(
            f"The record names generation {record.active} as active, but there is no StatefulSet "
            f"{name}-g{record.active}, only {sets}. Restore the record, or delete these."
        )
    told = observation.previous.active_generation
    if told is not None and told > record.active:
        return conflicting(
            f"The record names generation {record.active} as active, but generation {told} was active before: "
            "the record went back. Restore the later one."
        )
    for generation in observation.generations:
        if generation.fixed is None or generation.fixed.number != generation.number:
            return conflicting(f"StatefulSet {name}-g{generation.number} does not say what generation it is.")
        for status in answers(generation):
            if status.record_epoch > record.epoch:
                return conflicting(
                    f"Pod {name}-g{generation.number}-{status.pod} has seen epoch {status.record_epoch} of the record, "
                    f"which is at {record.epoch}: the record went back. Restore the later one."
                )
    return None


def first_number(observation: Observation) -> int:
    """The number of a gateway's first generation: 1, unless its status tells of others."""
    return max((0, *_told(observation))) + 1


def next_number(observation: Observation, record: Record, active: Generation) -> int:
    """One past the highest number ever used.

    The record alone remembers targets that were aborted and have left no other trace: each was two writes (begin and
    abort), so their number is at most half of the writes since *active* was begun, less its own commit and the
    retirement of its predecessor. Other writes in between only make a number be skipped.
    """
    own = 0
    if active.predecessor is not None:
        own = 2 if record.retired >= active.predecessor.generation else 1
    aborted = max(0, record.epoch - active.epoch - own) // 2
    seen = [generation.number for generation in observation.generations]
    return max((*seen, *_told(observation), record.retired, active.number + aborted)) + 1


def _told(observation: Observation) -> list[int]:
    status = observation.previous
    numbers = [outcome.generation for outcome in status.history]
    numbers += [generation.number for generation in status.generations]
    numbers += [number for number in (status.active_generation, status.target_generation) if number is not None]
    return numbers
