"""The envelope is read as a JSON parser reads it, whatever it looks like."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.protocol.envelope import UnreadableError, guild_of, read_envelope

LOOKALIKES = st.sampled_from(
    [
        '{"t":"MESSAGE_CREATE","s":1,"op":0,"d":{}}',
        '"s":7,"op":0',
        '\\"t\\":\\"X\\"',
        "}",
        '"',
        "\\",
        "guild_id",
        "\ud83d\ude00",
        "\u0000",
    ]
)
KEYS = st.sampled_from(["t", "s", "op", "d", "id", "guild_id", "x"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | LOOKALIKES
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)
NAMES = st.sampled_from(["MESSAGE_CREATE", "GUILD_CREATE", "READY", "X"]) | st.text(min_size=1, max_size=12)
FORMATS: list[dict[str, Any]] = [
    {"separators": (",", ":")},
    {"separators": (", ", ": ")},
    {"indent": 2},
    {"separators": (",", ":"), "ensure_ascii": False},
]


def escape_keys(text: str) -> str:
    """The same JSON with its envelope's keys written as escapes."""
    for key in ("op", "s", "t", "d"):
        escaped = "".join(f"\\u{ord(char):04x}" for char in key)
        text = text.replace(f'"{key}":', f'"{escaped}":', 1)
    return text


@given(
    d=JSON,
    s=st.integers(min_value=0, max_value=2**53),
    t=NAMES,
    order=st.permutations(["op", "s", "t", "d", "extra"]),
    form=st.sampled_from(FORMATS),
    escaped=st.booleans(),
)
def test_op_s_and_t_are_those_of_the_outermost_object(
    d: object, s: int, t: str, order: list[str], form: dict[str, Any], escaped: bool
) -> None:
    values = {"op": 0, "s": s, "t": t, "d": d, "extra": [d]}
    text = json.dumps({key: values[key] for key in order}, **form)
    if escaped and d is None:
        text = escape_keys(text)
    try:
        payload = text.encode()
    except UnicodeEncodeError:  # a lone surrogate has no bytes unless it is escaped
        return
    envelope = read_envelope(payload)
    assert (envelope.op, envelope.s, envelope.t) == (0, s, t)


@pytest.mark.parametrize("order", list(itertools.permutations(["op", "s", "t", "d"])))
def test_all_orders_of_keys(order: tuple[str, ...]) -> None:
    values = {"op": 0, "s": 7, "t": "X", "d": {"op": 1, "s": 8, "t": "Y", "d": {"s": 9}}}
    envelope = read_envelope(json.dumps({key: values[key] for key in order}).encode())
    assert (envelope.op, envelope.s, envelope.t) == (0, 7, "X")


@given(st.binary(max_size=200))
def test_garbage_is_unreadable_or_a_payload_and_never_a_crash(data: bytes) -> None:
    try:
        envelope = read_envelope(data)
    except UnreadableError:
        return
    parsed = json.loads(data)
    assert (parsed["op"], parsed.get("s"), parsed.get("t")) == (envelope.op, envelope.s, envelope.t)


@given(d=JSON, cut=st.integers(min_value=1))
def test_a_truncated_payload_is_unreadable(d: object, cut: int) -> None:
    payload = json.dumps({"t": "X", "s": 5, "op": 0, "d": d}).encode()
    with pytest.raises(UnreadableError):
        read_envelope(payload[: -1 - cut % (len(payload) - 1)])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"op":"0"}',
        b'{"op":true}',
        b'{"op":0.5}',
        b'{"op":0,"s":"5"}',
        b'{"op":0,"s":1.5}',
        b'{"op":0,"t":5}',
        b'{"op":0} {}',
        b'{"op":0,"d":NaN}',
        b'{"op":0,"d":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"op":0,"d":"\xff',
    ],
)
def test_what_is_no_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(UnreadableError) as refused:
        read_envelope(payload)
    assert len(str(refused.value)) < 200


def test_control_payloads_may_omit_or_null_everything_but_op() -> None:
    for payload in (b'{"op":11}', b'{"op":11,"d":null,"s":null,"t":null}', b'{"t":null,"s":null,"op":11,"d":null}'):
        envelope = read_envelope(payload)
        assert (envelope.op, envelope.s, envelope.t) == (11, None, None)


def test_a_lone_surrogate_is_json_and_no_reason_to_lose_an_event() -> None:
    payload = b'{"t":"MESSAGE_CREATE","s":5,"op":0,"d":{"guild_id":"44","content":"\\ud83d"}}'
    envelope = read_envelope(payload)
    assert (envelope.op, envelope.s, envelope.t) == (0, 5, "MESSAGE_CREATE")
    assert guild_of("MESSAGE_CREATE", payload) == 44


SNOWFLAKES = st.integers(min_value=1, max_value=2**63 - 1)


@given(guild=SNOWFLAKES, rest=st.dictionaries(KEYS, JSON, max_size=5), first=st.booleans(), as_number=st.booleans())
def test_the_guild_is_that_of_d_alone(guild: int, rest: dict[str, object], first: bool, as_number: bool) -> None:
    rest.pop("guild_id", None)
    named = {"guild_id": guild if as_number else str(guild)}
    d = {**named, **rest} if first else {**rest, **named}
    payload = json.dumps({"op": 0, "s": 1, "t": "X", "guild_id": "666", "d": d}).encode()
    assert guild_of("TYPING_START", payload) == guild


@given(rest=st.dictionaries(KEYS.filter(lambda key: key != "guild_id"), JSON, max_size=5))
def test_without_a_guild_of_its_own_a_dispatch_belongs_to_none(rest: dict[str, object]) -> None:
    payload = json.dumps({"t": "X", "guild_id": "666", "op": 0, "s": 1, "d": {**rest, "n": {"guild_id": "5"}}}).encode()
    assert guild_of("MESSAGE_CREATE", payload) == 0


@pytest.mark.parametrize(
    ("name", "d", "guild"),
    [
        ("GUILD_CREATE", {"id": "7", "guild_id": "8"}, 7),
        ("GUILD_UPDATE", {"id": "7"}, 7),
        ("GUILD_DELETE", {"id": "7", "unavailable": True}, 7),
        ("GUILD_ROLE_CREATE", {"id": "7", "guild_id": "8"}, 8),
        ("CHANNEL_CREATE", {"id": "7", "guild_id": "8"}, 8),
        ("MESSAGE_CREATE", {"id": "7"}, 0),
        ("MESSAGE_CREATE", {"id": "7", "guild_id": None}, 0),
        ("ENTITLEMENT_CREATE", {"id": "7", "guild_id": "8"}, 0),
        ("SUBSCRIPTION_CREATE", {"id": "7", "guild_id": "8"}, 0),
        ("USER_UPDATE", {"id": "7"}, 0),
        ("PRESENCES_REPLACE", [], 0),
        ("X", None, 0),
        ("X", "guild_id", 0),
        ("X", {"guild_id": "not a number"}, 0),
        ("X", {"guild_id": -5}, 0),
        ("X", {"guild_id": True}, 0),
        ("X", {"guild_id": "9" * 5000}, 0),
        ("X", {"guild_id": ["7"]}, 0),
        ("X", {"guild_id": str(2**64 - 1)}, 2**64 - 1),
        ("X", {"guild_id": str(2**64)}, 0),
        ("X", {"guild_id": 2**64 - 1}, 2**64 - 1),
        ("X", {"guild_id": 2**64}, 0),
    ],
)
def test_routing_table(name: str, d: object, guild: int) -> None:
    assert guild_of(name, json.dumps({"t": name, "s": 1, "op": 0, "d": d}).encode()) == guild


@pytest.mark.parametrize(
    "payload",
    [
        b'\xef\xbb\xbf{"op":0,"s":1,"t":"X","d":{}}',
        '{"op":0,"s":1,"t":"X","d":{}}'.encode("utf-16"),
        '{"op":0,"s":1,"t":"X","d":{}}'.encode("utf-32-le"),
        b'{"op":0,"s":1,"t":"\xff","d":{}}',
        b'{"op":0,"s":1,"t":"X","d":NaN}',
    ],
    ids=["byte order mark", "utf-16", "utf-32", "invalid utf-8", "NaN"],
)
def test_what_would_spoil_a_batch_that_it_is_joined_to_is_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_envelope(payload)


def test_a_guild_is_found_or_not_but_never_a_crash() -> None:
    assert guild_of("X", b'{"op":0,"s":1,"t":"X","d":{"guild_id":"\xff"}}') == 0
    assert guild_of("X", b'{"op":0,"s":1,"t":"X","d":{"guild_id":"7","x":"\xff"}}') == 7
