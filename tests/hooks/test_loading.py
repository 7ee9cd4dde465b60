"""What is wrong with handlers is said in one sentence, before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway_hooks import HOOKS, HookLoadError, Origin, Side, find_installed, load

EXAMPLES = Path(__file__).parents[2] / "examples" / "handlers"

GOOD = "async def handle_payload(context, default, event):\n    await default(event)\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "async def indentify(context, default, shard): ...",
            'handlers.py: "indentify" is no handler; did you mean ident',
        ),
        (
            "def helper(): ...",
            'handlers.py: "helper" is no handler; there are start_gateway, spawn_shards, create_shard',
        ),
        (
            "def heartbeat(context, default, shard, sequence): ...",
            "handlers.py: heartbeat is not asynchronous; write async def heartbeat(context, default, shard, sequence).",
        ),
        (
            "async def heartbeat(context, default, shard): ...",
            "handlers.py: heartbeat(context, default, shard) does not fit; write async def heartbeat(context, default, "
            "shard, sequence).",
        ),
        (
            "async def log(context, default, line, more): ...",
            "handlers.py: log(context, default, line, more) does not fit; write async def log(context, default, line).",
        ),
        ("async def identify(:", "handlers.py, line 1: invalid syntax."),
        ("import nothing_of_this_name", "handlers.py, line 1 fails with ModuleNotFoundError: No module named 'nothing"),
        ("\n\n1 / 0", "handlers.py, line 3 fails with ZeroDivisionError: division by zero."),
        ("raise SystemExit(3)", "handlers.py, line 1 fails with SystemExit: 3."),
        (
            "x = 1",
            "handlers.py holds no handler; write one, such as async def handle_payload(context, default, event).",
        ),
        (
            "async def reshard(context, default, gateway, plan): ...",
            'handlers.py: "reshard" is a handler of the operator, and has no effect here (docs/handlers.md).',
        ),
        (
            "class Mine:\n    async def hartbeat(self, context, default, shard, sequence): ...\nhooks = Mine()",
            'handlers.py: "hartbeat" is no handler; did you mean heartbeat?',
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(source: str, sentence: str) -> None:
    with pytest.raises(HookLoadError) as error:
        load(side=Side.RUNTIME, source=source)
    assert str(error.value).startswith(sentence)


def test_functions_and_methods_of_an_object_are_handlers_and_helpers_are_not() -> None:
    source = (
        "from asyncio import sleep\nimport dataclasses\n\n"
        "def _helper(): ...\n\n"
        "class Counting:\n"
        "    async def heartbeat(self, context, default, shard, sequence):\n"
        "        await default(shard, sequence)\n"
        "    def _private(self): ...\n\n"
        "hooks = Counting()\n" + GOOD
    )
    assert set(load(side=Side.RUNTIME, source=source)) == {"heartbeat", "handle_payload"}


def test_further_parameters_with_a_default_and_any_names_will_do() -> None:
    load(side=Side.RUNTIME, source="async def log(c, d, *rest): ...\nasync def identify(a, b, c, d, e=1): ...")


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, points: str, code: str) -> None:
    """Install a package with entry points, as pip leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_installed_packages_give_functions_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_installed(Side.RUNTIME) == []
    points = "[shard_runtime.hooks]\nhandle_payload = beats_a:handle_payload\nall = beats_a:beats\n"
    code = (
        GOOD + "class Beats:\n    async def heartbeat(self, context, default, shard, sequence): ...\n    async def log("
        "self, context, default, line): ...\nbeats = Beats()\n"
    )
    package(tmp_path, monkeypatch, "beats_a", points, code)
    found = find_installed(Side.RUNTIME)
    assert [origin.name for origin in found] == ["all", "handle_payload"]
    assert find_installed(Side.OPERATOR) == []
    hooks = load(side=Side.RUNTIME, installed=found, source="async def log(context, default, line): ...")
    assert set(hooks) == {"heartbeat", "handle_payload", "log"}
    assert hooks["log"].__module__ == "gateway_handlers", "the file takes the place of what is installed"


def test_two_packages_with_the_same_handler_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("beats_b", "beats_c"):
        points = f"[shard_runtime.hooks]\nlog = {name}:log\n"
        package(tmp_path, monkeypatch, name, points, "async def log(context, default, line): ...")
    with pytest.raises(HookLoadError, match=r'entry point "log" in shard_runtime.hooks: beats_b:log and beats_c:log'):
        find_installed(Side.RUNTIME)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "log",
            "nothing_of_this_name:log",
            "it does not load (ModuleNotFoundError: No module named 'nothing_of_this_name')",
        ),
        ("log", "beats_d:nothing", "it does not load (AttributeError: "),
        ("loog", "beats_d:log", '"loog" is no handler; did you mean log?'),
        ("log", "beats_d:Log", "it is a class; name an object of it, or a function."),
        ("all", "beats_d:empty", "it holds no handler."),
    ],
)
def test_what_is_wrong_with_an_entry_point_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    code = "async def log(context, default, line): ...\nclass Log:\n    pass\nempty = object()\n"
    package(tmp_path, monkeypatch, "beats_d", "", code)
    with pytest.raises(HookLoadError) as error:
        load(side=Side.RUNTIME, installed=[Origin(name, value)])
    assert str(error.value).startswith(f'Entry point "{name} = {value}" in shard_runtime.hooks: {sentence}')


def test_the_examples_have_every_handler() -> None:
    runtime = load(side=Side.RUNTIME, source=(EXAMPLES / "handlers.py").read_text())
    assert set(runtime) == {name for name, hook in HOOKS.items() if hook.side is Side.RUNTIME}
    operator = load(side=Side.OPERATOR, source=(EXAMPLES / "operator_handlers.py").read_text())
    assert set(operator) == {name for name, hook in HOOKS.items() if hook.side is Side.OPERATOR}
