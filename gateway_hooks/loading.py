"""From a file's text, or from installed packages, to functions; or to one sentence about what is wrong.

What is wrong is found at the start, and stops it: a handler that is silently not used is worse than none. In a file
every public function, and every public method of an object called ``hooks``, is a handler; so a name that is
misspelt is found. Helpers begin with an underscore, or are imported.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway_hooks.catalogue import HOOKS, Hook, Side

FILE: Final = "handlers.py"
"""What a file is called where nothing else is said."""
MODULE: Final = "gateway_handlers"
"""The name under which a file's text is a module."""
OBJECT: Final = "hooks"
"""A name in a file: an object whose methods are handlers."""

HookFunction = Callable[..., Any]
"""Asynchronous."""


class HookLoadError(Exception):
    """A handler cannot be used; the text is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An entry point: ``name = value`` in its group."""

    name: str
    value: str


def find_installed(side: Side) -> list[Origin]:
    """Entry points of installed packages, by name. Raises :class:`HookLoadError` for two of the same name."""
    # Almost nobody has any, and the module that knows them takes two megabytes of every process.
    if not any(_mentions(Path(folder), side.group) for folder in sys.path if folder):
        return []
    from importlib.metadata import entry_points  # only where there is something to find

    found: dict[str, Origin] = {}
    for point in sorted(entry_points(group=side.group), key=lambda point: (point.name, point.value)):
        before = found.get(point.name)
        if before is not None and before.value != point.value:
            raise HookLoadError(
                f'Two packages give an entry point "{point.name}" in {side.group}: {before.value} and {point.value}. '
                "Uninstall one of them."
            )
        found[point.name] = Origin(point.name, point.value)
    return list(found.values())


def load(
    *, side: Side, source: str | None = None, installed: Sequence[Origin] = (), file: str = FILE
) -> dict[str, HookFunction]:
    """Handlers by name; one of the file takes the place of an installed one. Raises :class:`HookLoadError`.

    *source* is the text of the file, *file* its name.
    """
    hooks: dict[str, HookFunction] = {}
    for origin in installed:
        hooks |= _from_entry_point(origin, side)
    if source is not None:
        hooks |= _from_source(source, side, file)
    return hooks


def _from_source(source: str, side: Side, file: str) -> dict[str, HookFunction]:
    module = types.ModuleType(MODULE)
    module.__file__ = file
    sys.modules[MODULE] = module  # dataclasses and pickles in the file look there
    try:
        exec(compile(source, file, "exec"), module.__dict__)
    except SyntaxError as error:
        raise HookLoadError(f"{file}, line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise HookLoadError(f"{file}{_line(error, file)} fails with {type(error).__name__}: {error}.") from error
    found = {name: value for name, value in vars(module).items() if _is_own(name, value)}
    methods = getattr(module, OBJECT, None)
    if methods is not None:
        found |= dict(_methods(methods))
    if not found:
        example = next(hook for hook in [*HOOKS.values()][::-1] if hook.side is side and hook.name != "log")
        raise HookLoadError(f"{file} holds no handler; write one, such as {example.signature}.")
    return {name: _checked(f"{file}:", name, value, side) for name, value in found.items()}


def _from_entry_point(origin: Origin, side: Side) -> dict[str, HookFunction]:
    from importlib import import_module

    where = f'Entry point "{origin.name} = {origin.value}" in {side.group}:'
    module, _, attributes = origin.value.partition(":")
    try:
        target: Any = import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            target = getattr(target, attribute)
    except (Exception, SystemExit) as error:
        raise HookLoadError(f"{where} it does not load ({type(error).__name__}: {error}).") from error
    if callable(target) and not inspect.isclass(target) and not _has_hooks(target):
        return {origin.name: _checked(where, origin.name, target, side)}
    if inspect.isclass(target):
        raise HookLoadError(f"{where} it is a class; name an object of it, or a function.")
    if inspect.ismodule(target):
        found = {name: value for name, value in vars(target).items() if name in HOOKS}
    else:
        found = dict(_methods(target))
    if not found:
        raise HookLoadError(f"{where} it holds no handler.")
    return {name: _checked(where, name, value, side) for name, value in found.items()}


def _has_hooks(target: object) -> bool:
    return any(name in HOOKS for name in dir(target))


def _is_own(name: str, value: object) -> bool:
    """A public function that the file itself defines."""
    return inspect.isfunction(value) and not name.startswith("_") and value.__module__ == MODULE


def _methods(target: object) -> Iterator[tuple[str, HookFunction]]:
    for name in dir(target):
        if not name.startswith("_") and callable(value := getattr(target, name)):
            yield name, value


def _checked(where: str, name: str, function: HookFunction, side: Side) -> HookFunction:
    """*function* if it can be called as the hook is. Raises :class:`HookLoadError`."""
    hook = HOOKS.get(name)
    if hook is None:
        close = difflib.get_close_matches(name, HOOKS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(HOOKS)}."
        raise HookLoadError(f'{where} "{name}" is no handler; {meant} Begin the name of a helper with an underscore.')
    if hook.side is not side:
        other = "operator" if hook.side is Side.OPERATOR else "runtime"
        raise HookLoadError(f'{where} "{name}" is a handler of the {other}, and has no effect here (docs/handlers.md).')
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)):
        raise HookLoadError(f"{where} {name} is not asynchronous; write {hook.signature}.")
    if not _takes(function, hook):
        raise HookLoadError(f"{where} {name}{inspect.signature(function)} does not fit; write {hook.signature}.")
    return function


def _takes(function: HookFunction, hook: Hook) -> bool:
    try:
        inspect.signature(function).bind(*("context", "default", *hook.takes))
    except TypeError:
        return False
    return True


def _line(error: BaseException, file: str) -> str:
    """Where in the file *error* was raised."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"


def _mentions(folder: Path, group: str) -> bool:
    for file in folder.glob("*-info/entry_points.txt"):
        try:
            if f"[{group}]" in file.read_text(encoding="utf-8"):
                return True
        except (OSError, UnicodeDecodeError):
            continue
    return False


def by_side(hooks: Mapping[str, Hook], side: Side) -> list[str]:
    """Names of one side's hooks."""
    return [name for name, hook in hooks.items() if hook.side is side]
