"""The reference page in the repository is what the models say now."""

from __future__ import annotations

from pathlib import Path

from gateway_operator.api.reference import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_page_has_not_drifted() -> None:
    assert (ROOT / "docs/crd-reference.md").read_text(encoding="utf-8") == page(), "run `make crds`"


def test_every_field_is_described() -> None:
    silent = [line for line in page().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not silent
