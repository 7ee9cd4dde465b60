"""What follows from each way a request to the receiver can end.

Only 2xx acknowledges. 400, 413 and 422 mean that nothing of the batch was processed, and the same bytes would be
refused again: the batch is bisected. Everything else may be better next time and is tried again, however long it takes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from shard_runtime.ports import Response

LONGEST_RETRY_AFTER: Final = 60.0
"""Seconds; a receiver that asks for more is asked again after this much."""

REFUSALS: Final = frozenset({400, 413, 422})


class Outcome(enum.Enum):
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    problem: str = ""
    """What went wrong, as the end of a sentence that begins with the receiver."""
    retry_after: float = 0.0
    """Seconds that the receiver asked for, at most :data:`LONGEST_RETRY_AFTER`."""


ACKNOWLEDGED: Final = Verdict(Outcome.ACKNOWLEDGED)


def judge(response: Response, *, now: float) -> Verdict:
    """Decide what *response* means; *now* is unix time in seconds, for a ``Retry-After`` that is a date."""
    status = response.status
    if 200 <= status < 300:
        return ACKNOWLEDGED
    if status in REFUSALS:
        return Verdict(Outcome.REFUSED, f"answered {status}", retry_after(response.headers.get("retry-after"), now=now))
    if 300 <= status < 400:
        where = response.headers.get("location")
        target = f" to {public_url(where)}" if where else ""
        return Verdict(
            Outcome.RETRY,
            f"answered {status}, a redirect{target}; redirects are not followed, set spec.forward.url to the final URL",
        )
    return Verdict(Outcome.RETRY, f"answered {status}", retry_after(response.headers.get("retry-after"), now=now))


def retry_after(value: str | None, *, now: float) -> float:
    """Seconds of a ``Retry-After`` header, a number or an HTTP date (RFC 9110, 10.2.3); 0 without a readable one."""
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        # a number with thousands of digits must not be turned into one
        return min(float(value[:9]), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now, 0.0), LONGEST_RETRY_AFTER)


def public_url(url: str) -> str:
    """*url* as it may be shown: scheme, host, port and path; user names, passwords and queries may be secrets."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "(unreadable URL)"
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    origin = f"{parts.scheme}://{host}{port}" if host else ""
    return f"{origin}{parts.path}"
