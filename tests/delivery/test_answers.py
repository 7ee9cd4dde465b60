"""What an answer of the receiver means, and what may be shown of its URL."""

from __future__ import annotations

import pytest

from shard_runtime.delivery.answers import Outcome, judge, public_url, retry_after
from shard_runtime.ports import Response

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ACKNOWLEDGED),
        (202, Outcome.ACKNOWLEDGED),
        (204, Outcome.ACKNOWLEDGED),
        (301, Outcome.RETRY),
        (307, Outcome.RETRY),
        (400, Outcome.REFUSED),
        (401, Outcome.RETRY),
        (403, Outcome.RETRY),
        (404, Outcome.RETRY),
        (413, Outcome.REFUSED),
        (422, Outcome.REFUSED),
        (429, Outcome.RETRY),
        (500, Outcome.RETRY),
        (503, Outcome.RETRY),
    ],
)
def test_only_2xx_acknowledges(status: int, outcome: Outcome) -> None:
    assert judge(Response(status, {}, b""), now=NOW).outcome is outcome


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("3", 3.0),
        (" 3 ", 3.0),
        ("86400", 60.0),
        ("9" * 5000, 60.0),
        ("-3", 0.0),
        ("soon", 0.0),
        ("Tue, 14 Nov 2023 22:13:25 GMT", 5.0),
        ("Tue, 14 Nov 2023 22:13:25 -0000", 5.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Wed, 15 Nov 2023 22:13:00 GMT", 60.0),
    ],
)
def test_retry_after_is_honoured_within_a_bound(value: str | None, seconds: float) -> None:
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://bot:8080/events?token=hunter2", "http://bot:8080/events"),
        ("https://user:hunter2@bot/events#hunter2", "https://bot/events"),
        ("http://[::1]:99999999/hunter2", "(unreadable URL)"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("/login?next=hunter2", "/login"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_a_redirect_says_what_to_write_and_where_it_leads_without_secrets() -> None:
    verdict = judge(Response(308, {"location": "https://bot/events/?token=hunter2"}, b""), now=NOW)
    assert "spec.forward.url" in verdict.problem
    assert "https://bot/events/" in verdict.problem
    assert "hunter2" not in verdict.problem
