"""docs/handlers.md says of each handler what the catalogue says."""

from __future__ import annotations

from pathlib import Path

from gateway_hooks import HOOKS, Side
from shard_runtime.hooked.payloads import MOST_EVENTS

PAGE = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text()


def test_the_table_is_the_catalogue() -> None:
    rows = [
        f"| `{hook.signature}` | {'' if hook.seconds is None else f'{hook.seconds:g}'} | "
        f"{'in any case' if hook.followed else 'if it is called'} |"
        for hook in HOOKS.values()
    ]
    assert [line for line in PAGE.splitlines() if line.startswith("| `async def ")] == rows


def test_each_has_a_section_and_each_side_its_group() -> None:
    sections = [line.removeprefix("### ") for line in PAGE.splitlines() if line.startswith("### ")]
    assert sections == list(HOOKS)
    assert all(side.group in PAGE for side in Side)
    assert f"more than {MOST_EVENTS:,} wait" in PAGE
