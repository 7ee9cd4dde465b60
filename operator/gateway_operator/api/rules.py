"""Rules with sentences: each is checked by pydantic here and, as CEL, by the API server.

``kubectl apply`` shows a CEL rule's message as it is, so it says what to write instead. A rule about an optional field
stands on the object that holds the field: ``has(self.x)`` is false for null.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

RULES: Final = "x-kubernetes-validations"


def rule(
    expression: str, message: str | None = None, *, says: str | None = None, path: str | None = None
) -> dict[str, str]:
    """One CEL validation: *message* is its sentence, or *says* a CEL expression that makes one."""
    made = {"rule": expression}
    if message is not None:
        made["message"] = message
    if says is not None:
        made["messageExpression"] = says
    if path is not None:
        made["fieldPath"] = path
    return made


def with_rules(*rules: dict[str, str]) -> dict[str, Any]:
    """``json_schema_extra`` that carries *rules* into the CRD."""
    return {RULES: list(rules)}


def one_of_schemes(*schemes: str) -> Callable[[str], str]:
    """A validator that wants a URL with one of *schemes* (as ``"https"``) and a host."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)

    def check(url: str) -> str:
        for scheme in schemes:
            rest = url.removeprefix(f"{scheme}://")
            if rest != url and rest[:1] not in ("", "/", "?", "#", ":"):
                return url
        raise ValueError(f'"{url}" is not a URL that starts with {wanted} and a host.')

    return check


def scheme_rule(field: str, *schemes: str, optional: bool = False) -> dict[str, str]:
    """The same as CEL, to stand on the object that holds *field*."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    test = f"self.{field}.matches('^({'|'.join(schemes)})://[^/?#:]')"
    return rule(
        f"!has(self.{field}) || {test}" if optional else test,
        f"{field} must be a URL that starts with {wanted} and a host",
        path=f".{field}",
    )
