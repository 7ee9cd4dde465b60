"""Writes the tables of ``docs/benchmarks.md`` from ``benchmarks/results``, at the end of every ``make bench``.

A table stands between two comments, ``<!-- NAME -->`` and ``<!-- end of NAME -->``; all other text is left alone. With
``--check`` nothing is written, and the exit status says whether the page is what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from peer_tables import peers_tables
from tables import bench_tables, operator_tables

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "benchmarks.md"
RESULTS: Final = ROOT / "benchmarks" / "results"
TABLES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "bench": bench_tables,
    "operator": operator_tables,
    "peers": peers_tables,
}


def filled(page: str, results: Path) -> str:
    """*page* with the tables of the files in *results*; raises ``ValueError`` for a page without a table's place."""
    for name, make in TABLES.items():
        source = results / f"{name}.json"
        if not source.exists():
            continue
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no place for a table: {begin} … {end}")
        before, rest = page.split(begin, 1)
        after = rest.split(end, 1)[1]
        page = f"{before}{begin}\n{make(json.loads(source.read_text()))}\n{end}{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    page = PAGE.read_text()
    wanted = filled(page, RESULTS)
    if arguments.check:
        sys.exit(
            f"{PAGE.relative_to(ROOT)} differs from the results: run benchmarks/report.py" if page != wanted else 0
        )
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
