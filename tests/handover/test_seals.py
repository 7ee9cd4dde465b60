"""What a seal keeps."""

from __future__ import annotations

import msgspec
import pytest

from shard_runtime.contract import GuildWindow, WindowEvent
from shard_runtime.handover.seals import Seal, decode_seal, encode_seal, sealing_moment

SEAL = Seal(
    sealed_at=5,
    by_generation=2,
    recorded_since=1,
    windows=[GuildWindow(guild=7, events=[WindowEvent(key=2**64 - 1, arrival=3, unique=True)])],
    accepted={"s": 10},
)


def test_a_seal_survives_a_restart() -> None:
    assert decode_seal(encode_seal(SEAL)) == SEAL


@pytest.mark.parametrize("data", [b"", b"{}", encode_seal(SEAL)[:-1]])
def test_a_damaged_seal_is_noticed(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_seal(data)


def test_only_what_was_accepted_may_still_be_delivered() -> None:
    assert SEAL.was_accepted("s", 10)
    assert not SEAL.was_accepted("s", 11)
    assert not SEAL.was_accepted("other", 1)


def test_a_disconnected_shard_moves_the_moment_back() -> None:
    assert sealing_moment(100, []) == 100
    assert sealing_moment(100, [90, 95]) == 90
    assert sealing_moment(100, [90, None]) == 0
