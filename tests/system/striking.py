"""What all acts have in common: a signature, and the pods there are to choose from when one strikes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from system.running_pod import RunningPod
from system.schedule import Step
from system.story import NAME, System

Act = Callable[[System, Step, random.Random], Awaitable[None]]
"""Strikes, lasts as long as its step says, and is over when it returns."""


def alive(system: System) -> list[RunningPod]:
    """Pods whose container runs, by name."""
    return [pod for pod in system.nodes.running if pod.life is not None and not pod.life.ended.is_set()]


def newest(system: System) -> list[str]:
    """Pods of the generation that was begun last."""
    names = [pod.node for pod in system.nodes.running]
    last = max((generation_of(name) for name in names), default=0)
    return [name for name in names if generation_of(name) == last]


def generation_of(pod: str) -> int:
    return int(pod.removeprefix(f"{NAME}-g").partition("-")[0])
