"""Every close code, and every way an unknown one may look."""

from __future__ import annotations

import pytest

from shard_runtime.protocol.close_codes import AFTER_CLOSE, After, after_close, problem


@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013, 4014])
def test_fatal_codes_stop_and_say_why(code: int) -> None:
    assert after_close(code) is After.STOP
    sentence = problem(code, shard=3, shard_count=16, intents=1 << 1 | 1 << 15)
    assert str(code) in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("code", [4003, 4007, 4009])
def test_codes_of_a_dead_session_identify(code: int) -> None:
    assert after_close(code) is After.IDENTIFY


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1011, 3000, 4000, 4001, 4002, 4005, 4006, 4008, 4015, 4999])
def test_everything_else_resumes(code: int | None) -> None:
    assert after_close(code) is After.RESUME


def test_the_table_names_all_documented_codes() -> None:
    documented = {4000, 4001, 4002, 4003, 4004, 4005, 4007, 4008, 4009, 4010, 4011, 4012, 4013, 4014}
    assert documented <= {code for code in AFTER_CLOSE if code is not None}


def test_disallowed_intents_are_named() -> None:
    assert "GUILD_MEMBERS, MESSAGE_CONTENT" in problem(4014, shard=0, shard_count=1, intents=1 << 1 | 1 << 15 | 1)
