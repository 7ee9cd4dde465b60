"""The tables of peers side by side, from the JSON of ``peers.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tables import measured, table, thousands

_COMPRESSIONS: Final = ("none", "zlib-stream", "zstd-stream")
_MODES: Final = {"receive": "receives only", "single": "a request for each event", "batch": "batches"}


def peers_tables(result: Mapping[str, Any]) -> str:
    """All parts of a run that *result* has."""
    makers = {
        "speed": ("Events per CPU-second in a burst", _speed),
        "steady": ("1,000 events/s, zlib-stream", _steady),
        "memory": ("Memory at rest, MB", _memory),
        "away": ("The bot away for 30 s", _away),
        "reshard": ("8 to 16 shards under load", _reshard),
    }
    return "\n\n".join(
        f"### {title}\n\n{make(result[name]['results'])}\n\n{measured(result[name])}"
        for name, (title, make) in makers.items()
        if name in result
    )


def _speed(results: Mapping[str, Any]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, found in results.items():
            for mode, title in _MODES.items():
                values = [found.get(compression, {}).get(mode) for compression in _COMPRESSIONS]
                if any(values):
                    yield name, title, *("—" if value is None else thousands(value) for value in values)

    return table(("", "what it does", *_COMPRESSIONS), rows())


def _steady(results: Mapping[str, Any]) -> str:
    return table(
        ("", "what it does", "of a core", "p50 ms", "p99 ms", "arrived"),
        (
            (
                name,
                _MODES[mode],
                f"{values['core']:.1%}",
                f"{values['p50']:.2f}",
                f"{values['p99']:.2f}",
                f"{values['arrived']:.1%}",
            )
            for name, found in results.items()
            for mode, values in found.items()
        ),
    )


def _memory(results: Mapping[str, Any]) -> str:
    return table(
        ("", "16 shards, RSS", "PSS", "256 shards, RSS", "PSS"),
        (
            (name, *(f"{found[shards][kind]:.0f}" for shards in ("16", "256") for kind in ("rss", "pss")))
            for name, found in results.items()
        ),
    )


def _away(results: Mapping[str, Any]) -> str:
    def lost(found: Mapping[str, Any]) -> str:
        return f"**{found['lost']:,}** of {found['made']:,}"

    return table(
        ("", "receiver away: lost", "duplicated", "gateway client away: lost", "duplicated"),
        (
            (
                name,
                lost(found["receiver away"]),
                f"{found['receiver away']['duplicated']:,}",
                lost(found["client away"]),
                f"{found['client away']['duplicated']:,}",
            )
            for name, found in results.items()
        ),
    )


def _reshard(results: Mapping[str, Any]) -> str:
    return table(
        ("", "lost", "duplicated", "out of order", "longest pause ms", "usual delay ms", "whole reshard s"),
        (
            (
                name,
                f"**{found['lost']:,}** of {found['made']:,}",
                f"{found['duplicated']:,}",
                f"{found['disordered']:,}",
                f"{found['latest_milliseconds']:,.0f}",
                f"{found['median_milliseconds']:,.0f}",
                f"{found['seconds']:.1f}" + ("" if found["under_load"] else " (the load ended before)"),
            )
            for name, found in results.items()
        ),
    )
