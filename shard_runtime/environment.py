"""Where a pod finds its files and who it is: the environment variables of the process, checked once.

Kubernetes (or ``dgw local``) sets these; everything else that a pod knows comes from the mounted files they point at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIG_FOLDER = "/etc/discord-gateway"
STATE_FOLDER = "/var/lib/discord-gateway"
GRACE_SECONDS = 25.0
"""What a graceful stop may take: Kubernetes kills after ``terminationGracePeriodSeconds`` (30 s by default)."""

LEVELS = ("debug", "info", "warning", "error")


class SetupError(Exception):
    """The pod cannot start as it is set up; the text is one sentence for a person and never holds a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    pod: int
    pod_uid: str
    config: Path
    state: Path
    host: str
    port: int
    grace_seconds: float
    log_level: str


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Check *variables* (``os.environ``). Raises :class:`SetupError` naming the variable that is wrong."""
    level = variables.get("DISCORD_GATEWAY_LOG_LEVEL", "info").lower()
    if level not in LEVELS:
        raise SetupError(f'DISCORD_GATEWAY_LOG_LEVEL is "{level}"; use one of {", ".join(LEVELS)}.')
    return Environment(
        pod=_whole_number(variables, "POD_INDEX", None, 1 << 20),
        pod_uid=_required(variables, "POD_UID"),
        config=Path(variables.get("DISCORD_GATEWAY_CONFIG_DIR", CONFIG_FOLDER)),
        state=Path(variables.get("DISCORD_GATEWAY_STATE_DIR", STATE_FOLDER)),
        host=variables.get("DISCORD_GATEWAY_HOST", "0.0.0.0"),  # the pod's own network; callers need the bearer token
        port=_whole_number(variables, "DISCORD_GATEWAY_PORT", 8080, 65535),
        grace_seconds=float(_whole_number(variables, "DISCORD_GATEWAY_GRACE_SECONDS", int(GRACE_SECONDS), 86400)),
        log_level=level,
    )


def _required(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "").strip()
    if not value:
        raise SetupError(f"The environment variable {name} is not set; a pod's manifest must set it.")
    return value


def _whole_number(variables: Mapping[str, str], name: str, default: int | None, largest: int) -> int:
    text = _required(variables, name) if default is None else variables.get(name, str(default)).strip()
    if not text.isascii() or not text.isdigit() or int(text) > largest:
        raise SetupError(f'Environment variable {name} is "{text}"; it must be a whole number of at most {largest}.')
    return int(text)
