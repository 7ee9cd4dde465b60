"""The parts of a run, one after another: what each measured, under which circumstances, kept as soon as it is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from machine import circumstances

Measure = Callable[[], dict[str, Any]]


def say(text: str) -> None:
    """To a person; stdout is for the JSON."""
    print(text, file=sys.stderr, flush=True)


def measure_parts(
    parts: Mapping[str, Measure],
    *,
    only: str | None,
    out: Path | None,
    tables: Callable[[Mapping[str, Any]], str],
    packages: Mapping[str, str] | None = None,
) -> None:
    """Measure *parts*, or *only* one, which replaces that part of an earlier run in *out*; show the *tables* of all.

    *packages*: name and version of what is measured, where it is not what this program itself imports.
    """
    result: dict[str, Any] = json.loads(out.read_text()) if out is not None and out.exists() else {}
    for name, measure in parts.items():
        if only in (None, name):
            say(name)
            before = circumstances()
            if packages is not None:
                before["packages"] = dict(packages)
            result[name] = {"circumstances": before, "results": measure()}
            if out is not None:
                out.parent.mkdir(exist_ok=True)
                out.write_text(json.dumps(result, indent=1) + "\n")
    say(tables(result))
    if out is None:
        print(json.dumps(result, indent=1))
