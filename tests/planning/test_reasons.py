"""Reasons are an interface: every one in the code is in the documentation, and every one there is in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway_operator import planning, reconcile
from gateway_operator.api.conditions import ConditionType
from gateway_operator.api.generation import AUTOMATIC, SHARDING_REQUIRED
from gateway_operator.api.status import Outcome, Step
from gateway_operator.planning.difference import why_new
from gateway_operator.reconcile.act import REASONS

PAGE = Path(__file__).parents[2] / "docs" / "conditions.md"
WORD = re.compile(r"[A-Z][A-Za-z]+")


def in_code() -> set[str]:
    found = {*REASONS.values(), *(step.value for step in Step), AUTOMATIC, SHARDING_REQUIRED, Outcome.STALLED.value}
    for package in (planning, reconcile):
        for file in Path(package.__path__[0]).glob("*.py"):
            found |= set(_reasons(ast.parse(file.read_text())))
    return found


def _reasons(tree: ast.AST) -> Iterator[str]:
    """Values of ``reason=``, and what stands second beside a condition's status; and what *why_new* returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "reason":
            yield from _text(node.value)
        if isinstance(node, ast.Tuple) and len(node.elts) == 3:
            status, reason, _ = node.elts
            if isinstance(status, ast.Name) and status.id in ("TRUE", "FALSE", "UNKNOWN"):
                yield from _text(reason)
        if isinstance(node, ast.FunctionDef) and node.name == why_new.__name__:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from _text(inner.value)


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
        yield node.value


def in_documentation() -> set[str]:
    """First cells of tables, and words that the prose names as reasons."""
    text = PAGE.read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    (steps,) = re.findall(r"Reasons while True are the steps:\n(.*?) \(see", text, re.DOTALL)
    (causes,) = re.findall(r"say what asked for it: (.*?)\.\n", text, re.DOTALL)
    return {word for part in (*cells, steps, causes) for word in re.findall(r"`([A-Z][A-Za-z]+)`", part)}


def test_every_reason_is_documented() -> None:
    found = in_code()
    assert {"ShardsNotReady", "AsExpected", "CountChanged", "ReshardStarted"} <= found, "the search finds them"
    assert found - in_documentation() == set()


def test_every_documented_reason_exists() -> None:
    assert in_documentation() - in_code() == set()


def test_every_condition_has_a_section() -> None:
    headings = set(re.findall(r"^## (\w+)$", PAGE.read_text(), re.MULTILINE))
    assert {kind.value for kind in ConditionType} <= headings
