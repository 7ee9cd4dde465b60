"""Log lines are JSON, one per line, and never hold a secret, however it got into them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from shard_runtime.logs import Redaction, configure_logging, event_log

TOKEN = 'MTA.secret"with-a-quote'


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, before, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    runtime = logging.getLogger("shard_runtime")
    own = runtime.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    runtime.setLevel(own)


def configured(stream: io.StringIO) -> logging.Logger:
    redaction = Redaction()
    redaction.learn(TOKEN, None, "abc")
    return configure_logging(level="info", redaction=redaction, fields={"pod": 3}, stream=stream)


def test_a_line_is_one_json_object_with_the_pods_fields(stream: io.StringIO) -> None:
    event_log(configured(stream))("resumed", shard=4, session="s\nx", name="n")
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["level"], line["message"], line["pod"], line["shard"]) == ("info", "resumed", 3, 4)
    assert line["name_"] == "n", "a field does not shadow the record's own"


def test_a_secret_is_taken_out_of_messages_fields_and_traces(stream: io.StringIO) -> None:
    log = configured(stream)
    try:
        raise ValueError(f"header Bot {TOKEN} refused")
    except ValueError:
        log.exception("with %s", TOKEN, extra={"header": {"authorization": TOKEN}})
    assert "with-a-quote" not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") == 3
    assert json.loads(stream.getvalue())["trace"]


def test_short_texts_are_no_secrets(stream: io.StringIO) -> None:
    configured(stream).info("abcdef")
    assert json.loads(stream.getvalue())["message"] == "abcdef"
