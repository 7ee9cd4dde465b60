"""Keys are equal for the two copies of an event, and for nothing else that can be told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_runtime import contract
from shard_runtime.handover.keys import UNIQUE, event_key, latest_subject, place_of, routed_stream, stream_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def payload(d: Any, *, sequence: int = 1, **options: Any) -> bytes:
    return json.dumps({"t": "X", "s": sequence, "op": 0, "d": d}, **options).encode()


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(inner) for key, inner in reversed(value.items())}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(d=st.dictionaries(st.text(), JSON, max_size=5))
def test_order_of_keys_spacing_and_sequence_do_not_matter(d: dict[str, Any]) -> None:
    one = event_key("WEBHOOKS_UPDATE", payload(d))
    other = event_key("WEBHOOKS_UPDATE", payload(shuffled(d), sequence=77, separators=(",", ":")))
    assert one == other
    assert not one.unique
    assert one != event_key("GUILD_INTEGRATIONS_UPDATE", payload(d))
    assert one != event_key("WEBHOOKS_UPDATE", payload({**d, "one more": 1}))


@pytest.mark.parametrize("name", sorted(UNIQUE))
def test_an_event_with_an_id_of_its_own_is_known_by_it_alone(name: str) -> None:
    def d(number: str, note: str) -> dict[str, Any]:
        if name == "GUILD_ROLE_CREATE":
            return {"guild_id": "5", "role": {"id": number, "name": note}}
        if name == "GUILD_ROLE_DELETE":
            return {"guild_id": "5", "role_id": number}
        return {"id": number, "content": note}

    one = event_key(name, payload(d("10", "a")))
    assert one.unique
    assert one == event_key(name, payload(d("10", "b")))
    assert one != event_key(name, payload(d("11", "a")))
    assert one != event_key("MESSAGE_CREATE" if name != "MESSAGE_CREATE" else "MESSAGE_DELETE", payload(d("10", "a")))


def test_hashes_are_the_same_in_every_process_and_pass_the_wire() -> None:
    key, unique = event_key("MESSAGE_CREATE", payload({"id": "10"}))
    assert key == 3_985_103_304_250_114_470
    event = contract.WindowEvent(key=2**64 - 1, arrival=1, unique=unique)
    assert contract.decode(contract.encode(event), contract.WindowEvent) == event


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"d":', b"[]", b'{"d":"\\ud800"}', b"\xff", b'{"d":[1,{"a":"\\udfff"}]}']
)
@pytest.mark.parametrize("name", ["MESSAGE_CREATE", "WEBHOOKS_UPDATE", "GUILD_ROLE_CREATE"])
def test_what_cannot_be_read_still_has_a_key(name: str, data: bytes) -> None:
    assert event_key(name, data) == event_key(name, data)
    assert not event_key(name, data).unique


def test_a_message_with_a_lone_surrogate_keeps_its_id() -> None:
    plain = event_key("MESSAGE_CREATE", b'{"d":{"id":"10"}}')
    assert event_key("MESSAGE_CREATE", b'{"d":{"content":"\\ud800","id":"10"}}') == plain


def test_streams() -> None:
    assert stream_of("MESSAGE_CREATE", payload({"guild_id": "5"})) == 5
    assert stream_of("GUILD_CREATE", payload({"id": "5"})) == 5
    assert stream_of("MESSAGE_CREATE", payload({"id": "5"})) == 0
    assert stream_of("ENTITLEMENT_CREATE", payload({"guild_id": "5"})) == 0
    guild = 7 << 22
    assert routed_stream(guild, shard=3, count=4) == guild
    assert routed_stream(guild, shard=0, count=4) == 0


@pytest.mark.parametrize("name", ["MESSAGE_CREATE", "GUILD_ROLE_CREATE", "VOICE_STATE_UPDATE", "PRESENCE_UPDATE"])
@pytest.mark.parametrize("at", ["guild_id", "id", "channel_id", "user_id", "content"])
def test_bytes_that_are_no_text_are_no_reason_to_stumble(name: str, at: str) -> None:
    broken = b'{"op":0,"s":1,"t":"X","d":{"%s":"\xff","user":{"id":"\xff"}}}' % at.encode()
    assert event_key(name, broken) == event_key(name, broken)
    place_of(name, broken, shard=0, count=1)
    latest_subject(name, broken, own_user=1)
