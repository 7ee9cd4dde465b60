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
    """``{compression}`` stands for the compression, where each is a program of its own."""
    needs: Path
    """What there is once it is installed."""
    install: str
    compressions: tuple[str, ...]
    """The first is the one of the fault tests."""
    shows_sequences: bool = True
    disordered: frozenset[str] = frozenset()
    """Compressions in which it shows payloads in another order than they came."""
    shows_objects: bool = False
    """Whether its bot reports messages and joins as the library's own objects."""
    unfit_to_reconnect: frozenset[str] = frozenset()
    """Compressions in which it breaks on a busy connection that is replaced by another."""
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What it does otherwise than ``COMMON``."""
    zombie_closes: str = "4000"
    """The code by which it gives up on a connection without acknowledgements."""
    unreachable: tuple[tuple[str, ...], ...] = (RESUMED,)
    """What may follow a drop when the next connections are refused."""
    after_op_7_for_hello: tuple[str, ...] = RESUMED
    """How it ends when a connection is greeted with op 7 instead of HELLO."""
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


def _in_node(name: str, program: str, **traits: object) -> Library:
    return Library(  # type: ignore[arg-type]
        name=name,
        command=("node", str(_BOTS / "node" / program)),
        needs=_BOTS / "node" / "node_modules" / ".installed",
        install="make conformance-node",
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
            unreachable=(RENEWED,),
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
        _in_node(
            "@discordjs/ws",
            "discordjs_bot.mjs",
            compressions=("zlib-stream", "payload", "none"),
            # It inflates in the background, and payloads that need no inflating overtake those that do.
            disordered=frozenset({"payload"}),
            after={
                "closed 1000": RENEWED,
                "closed 4003": RENEWED,
                "closed 4005": RENEWED,
                "closed 4007": RENEWED,
                "closed 4008": RENEWED,
            },
            zombie_closes="4200",
            unreachable=(RENEWED,),
            # It stops waiting for HELLO, and takes that for a failure of its own.
            after_op_7_for_hello=RENEWED,
            harmless=("Unexpected server response: 503",),
        ),
        _in_node(
            "@discordeno/gateway",
            "discordeno_bot.mjs",
            # Of a zstd-stream it loses the first payload, HELLO, and so never sends a heartbeat; the rest comes.
            compressions=("none", "payload", "zlib-stream", "zstd-stream"),
            # What the old connection's inflater still gives ends up among the new one's payloads.
            unfit_to_reconnect=frozenset({"zlib-stream"}),
            after={"closed 4003": RENEWED, "closed 4007": RENEWED, "closed 4009": RENEWED},
            zombie_closes="3010",
            # It tries again at once, a thousand times a second, to resume and to identify by turns.
            unreachable=(RESUMED, RENEWED),
            harmless=("Discord gave no reason!", "There was an error connecting Shard"),
        ),
        Library(
            name="twilight-gateway",
            command=(str(_BOTS / "rust" / "bin" / "{compression}"),),
            needs=_BOTS / "rust" / "bin" / ".installed",
            install="make conformance-rust",
            compressions=("zstd-stream", "zlib-stream", "none"),
            zombie_closes="dropped",
            harmless=("kind: Reconnect",),
        ),
    )
}
