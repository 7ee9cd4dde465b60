"""The program's command line: what it makes of its flags, and what it says of wrong ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from discord_simulator.__main__ import main, settings_of
from discord_simulator.settings import Settings


def test_without_flags_the_settings_are_discords():
    assert settings_of(["--port", "0"]) == Settings()


def test_any_setting_can_be_set():
    settings = settings_of(
        ["--port", "0", "--guilds", "3", "--set", "shuffle_keys=true", "--set", 'voice_server_audience="all"']
    )
    assert settings == Settings(guilds=3, shuffle_keys=True, voice_server_audience="all")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("shufle_keys=true", '"shufle_keys" is not a setting; there are '),
        ("shuffle_keys=yes", '"yes" is not JSON'),
        ("shuffle_keys=3", "Expected `bool`, got `int` - at `$.shuffle_keys`"),
        ('voice_server_audience="none"', "Invalid enum value 'none' - at `$.voice_server_audience`"),
    ],
)
def test_a_wrong_setting_ends_the_program_with_a_sentence(setting, sentence, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["discord_simulator", "--port", "0", "--set", setting])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_help_names_every_flag():
    shown = subprocess.run(
        [sys.executable, "-m", "discord_simulator", "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "--set NAME=VALUE" in shown.stdout
