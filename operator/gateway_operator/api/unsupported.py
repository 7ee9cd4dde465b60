"""Fields that are part of the resource and do not work in this version.

A field that does nothing is refused when it is not at its default, never silently ignored; the table shrinks as the
parts that stand behind it are built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway_operator.api.spec import Spec

UNSUPPORTED: Final[tuple[tuple[str, Callable[[Spec], bool], str], ...]] = ()
"""Path, whether a spec uses it, and what to write instead."""


def refusals(spec: Spec) -> list[str]:
    """A sentence for each field of *spec* that does not work in this version."""
    return [f"{path} is not supported in this version; {instead}." for path, used, instead in UNSUPPORTED if used(spec)]
