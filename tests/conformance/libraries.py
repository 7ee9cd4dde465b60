"""The libraries under test: how their bots are started, and what they are known to do.

What follows a fault is each library's own choice; the table in docs/protocol.md, "Close codes from the server", was
read in their sources, and here it is what really happens. Every difference from ``COMMON`` is listed with its library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_BOTS: Final = ROOT / "conformance"

RESUMED: Final = ("resume accepted",)
RENEWED: Final = ("identify accepted",)
"""It did not try to resume."""
RETRIED: Final = ("resume unknown", "identify accepted")
EVICTED: Final = ("resume evicted", "identify accepted")
STOPPED: Final = ()

COMMON: Final[Mapping[str, tuple[str, ...]]] = {
    "untouched": (),
    "op 1": (),
    "late acknowledgements": (),
    "op 7": RESUMED,
    "op 7, then closed": RESUMED,
    "op 9 true": RESUMED,
    "op 9 false": RENEWED,
    "dropped": RESUMED,
    "zombie": RESUMED,
    "killed": RETRIED,
    "evicted": EVICTED,
    "closed 1000": RESUMED,
    "closed 1001": RESUMED,
    "closed 4000": RESUMED,
    "closed 4001": RESUMED,
    "closed 4002": RESUMED,
    "closed 4003": RETRIED,
    "closed 4004": STOPPED,
    "closed 4005": RESUMED,
    "closed 4007": RETRIED,
    "closed 4008": RESUMED,
    "closed 4009": RETRIED,
    "closed 4010": STOPPED,
    "closed 4011": STOPPED,
    "closed 4012": STOPPED,
    "closed 4013": STOPPED,
    "closed 4014": STOPPED,
}


@dataclass(frozen=True, kw_only=True)
class Library:
    name: str
    command: tuple[str, ...]
    needs: Path
    """What there is once it is installed."""
    install: str
    compressions: tuple[str, ...]
    """The first is the one of the fault tests."""
    shows_sequences: bool = True
    shows_objects: bool = False
    """Whether its bot reports messages and joins as the library's own objects."""
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What it does otherwise than ``COMMON``."""
    zombie_closes: str = "4000"
    """The code by which it gives up on a connection without acknowledgements."""
    unreachable: tuple[str, ...] = RESUMED
    """After a drop, when the next connections are refused."""
    harmless: tuple[str, ...] = ()
    """Parts of what it logs when all is as it should be."""

    def expected(self, scenario: str) -> tuple[str, ...]:
        return self.after.get(scenario, COMMON[scenario])

    def is_harmless(self, log: str) -> bool:
        return any(text in log for text in self.harmless)

    def is_installed(self) -> bool:
        return self.needs.exists()


_PYTHON: Final = _BOTS / "python" / ".venv" / "bin" / "python"


def _in_python(name: str, program: str, **traits: object) -> Library:
    return Library(  # type: ignore[arg-type]
        name=name,
        command=(str(_PYTHON), str(_BOTS / "python" / program)),
        needs=_BOTS / "python" / ".venv" / ".installed",
        install="make conformance-python",
        **traits,
    )


LIBRARIES: Final = {
    library.name: library
    for library in (
        _in_python(
            "discord.py",
            "discordpy_bot.py",
            compressions=("zstd-stream", "zlib-stream"),
            shows_objects=True,
            # It counts any frame as a sign of life, and a failed connection as the end of the session.
            unreachable=RENEWED,
            harmless=("not installed, voice", "Attempting a reconnect", "has stopped responding"),
        ),
        _in_python(
            "hikari",
            "hikari_bot.py",
            compressions=("zstd-stream", "zlib-stream", "payload", "none"),
            shows_sequences=False,
            shows_objects=True,
            after={"closed 4001": STOPPED, "closed 4003": STOPPED, "closed 4005": STOPPED},
            zombie_closes="3000",
            harmless=("attempt to reconnect", "Will retry shortly", "was never retrieved", "during shut down"),
        ),
    )
}
