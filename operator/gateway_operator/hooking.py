"""The operator's own hooks: from a file that its owner gives it, and from installed packages.

Never from ``spec.handlers``: that is the gateway's owner's, and the operator acts for everybody.
"""

from __future__ import annotations

import logging
from pathlib import Path

from gateway_hooks import HookLoadError, Hooks, Side, find_installed, load
from gateway_operator.ports import Clock
from gateway_operator.reconcile.opinions import OperatorContext

log = logging.getLogger(__name__)


def load_hooks(file: Path | None, *, clock: Clock) -> Hooks | None:
    """None where there are none. Raises :class:`~gateway_hooks.HookLoadError`."""
    installed = find_installed(Side.OPERATOR)
    source = None
    if file is not None:
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HookLoadError(f"{file} cannot be read: {error}.") from error
    if source is None and not installed:
        return None
    functions = load(side=Side.OPERATOR, source=source, installed=installed, file=str(file))
    log.info("handlers are in use: %s", ", ".join(functions))
    return Hooks(functions, context=OperatorContext(log=log), log=log, monotonic=clock.monotonic)
