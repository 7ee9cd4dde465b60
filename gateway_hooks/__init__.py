"""Hooks: functions of a user's that stand in for handlers of the runtime and the operator. See docs/handlers.md.

    catalogue   which hooks there are, and what each is called with
    loading     a file's text or installed packages become functions, or one sentence about what is wrong
    running     a hook is called with the default, under a time limit; one that fails costs a line in the log

Knows neither runtime nor operator: both use it.
"""

from gateway_hooks.catalogue import HOOKS, Hook, Side
from gateway_hooks.loading import HookLoadError, Origin, find_installed, load
from gateway_hooks.running import Hooks, HookUseError

__all__ = ["HOOKS", "Hook", "HookLoadError", "HookUseError", "Hooks", "Origin", "Side", "find_installed", "load"]
