"""A process's hooks, from what the supervisor found: the text of the mounted file, and names of entry points."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway_hooks import Hooks, Origin, Side, load
from shard_runtime.contract import RuntimeConfig
from shard_runtime.hooked.context import HookContext
from shard_runtime.orders import Handlers


def make_hooks(
    handlers: Handlers,
    *,
    config: RuntimeConfig,
    pod: int,
    worker: int | None = None,
    shards: tuple[int, ...] = (),
    log: logging.Logger,
    monotonic: Callable[[], float],
) -> Hooks | None:
    """None where there are none. Raises :class:`~gateway_hooks.HookLoadError`."""
    if handlers.source is None and not handlers.installed:
        return None
    installed = [Origin(name, value) for name, value in handlers.installed]
    functions = load(side=Side.RUNTIME, source=handlers.source, installed=installed)
    context = HookContext(
        namespace=config.namespace,
        gateway=config.gateway,
        generation=config.generation,
        shard_count=config.layout.count,
        pod=pod,
        worker=worker,
        shards=shards,
        log=log,
    )
    return Hooks(functions, context=context, log=log, monotonic=monotonic)
