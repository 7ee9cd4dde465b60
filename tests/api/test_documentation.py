"""The page of capabilities claims only what is there to show it: the paths it names exist, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "capabilities.md"


def test_what_shows_a_capability_exists() -> None:
    named = set(re.findall(r"`((?:tests|e2e|benchmarks|examples|shard_runtime)/[\w./-]+)`", PAGE.read_text()))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_links_lead_to_pages_and_headings() -> None:
    for page in ("capabilities.md", "conditions.md"):
        for target, _, anchor in (
            link.partition("#") for link in re.findall(r"\]\(([^)h][^)]*)\)", (PAGE.parent / page).read_text())
        ):
            found = PAGE.parent / (target or page)
            assert found.exists(), f"{page}: {target}"
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page}: {target}#{anchor}"
