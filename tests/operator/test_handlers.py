"""Handlers: those of the pods reach them and roll them, the operator's own decide about reshards and about no more."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gateway_operator import __main__ as program
from gateway_operator.cli import main as dgw
from gateway_operator.cluster.port import CONFIG_MAP, POD
from gateway_operator.reconcile.opinions import OperatorContext
from gateway_operator.reconcile.reconciler import Reconciler

from gateway_hooks import Hooks, Side, load

if TYPE_CHECKING:
    from conftest import World

SOURCE = "async def handle_payload(context, default, event):\n    await default(event)\n"
USED: dict[str, Any] = {"handlers": {"configMapRef": {"name": "my-handlers", "key": "bot.py"}}}
AUTO: dict[str, Any] = {"auto": True, "guildsPerShard": 20, "overlapSeconds": 4, "cooldownSeconds": 100}


def put(world: World, **data: str) -> None:
    metadata = {"name": "my-handlers", "namespace": "default"}
    world.store.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def mounted(world: World) -> dict[str, str | None]:
    """What each pod finds as its handlers."""
    found = {}
    for pod in world.store.select(POD, None, {}):
        name = next(v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "config")
        config = world.store.get(CONFIG_MAP, "default", name)
        assert config is not None
        found[pod["metadata"]["name"]] = config["data"].get("handlers.py")
    return found


# --- Of the pods ------------------------------------------------------------------------------------------------------


async def test_pods_get_the_handlers_and_a_change_rolls_them_one_by_one(world: World) -> None:
    put(world, **{"bot.py": SOURCE})
    world.apply(**USED)
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    assert mounted(world) == {"bot-g1-0": SOURCE, "bot-g1-1": SOURCE}
    uids = {pod["metadata"]["uid"] for pod in world.store.select(POD, None, {})}
    await world.passes(reconciler, seconds=40)
    assert uids == {pod["metadata"]["uid"] for pod in world.store.select(POD, None, {})}, "nothing changes by itself"

    changed = SOURCE + "# changed\n"
    put(world, **{"bot.py": changed})
    assert await world.passes(reconciler, until=lambda: "rollout" in world.gateway()["status"])
    done = await world.passes(reconciler, until=lambda: set(mounted(world).values()) == {changed}, seconds=60)
    assert done
    await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"], seconds=30)
    assert uids.isdisjoint(pod["metadata"]["uid"] for pod in world.store.select(POD, None, {}))
    assert world.generations() == [1], "no session was started for it"

    world.apply()
    assert await world.passes(reconciler, until=lambda: set(mounted(world).values()) == {None}, seconds=60)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "ConfigMap default/my-handlers does not exist; spec.handlers.configMapRef.name names it."),
        (
            {"handlers.py": SOURCE, "more": ""},
            'ConfigMap default/my-handlers has no key "bot.py" (keys: handlers.py, more). Set '
            "spec.handlers.configMapRef.key.",
        ),
        ({"bot.py": "def x(:"}, "ConfigMap default/my-handlers, bot.py, line 1: invalid syntax."),
        ({"bot.py": "\x00"}, "ConfigMap default/my-handlers, bot.py: source code string cannot contain null bytes."),
    ],
)
async def test_handlers_that_are_not_there_or_no_python_keep_everything_as_it_is(
    world: World, data: dict[str, str] | None, sentence: str
) -> None:
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    before = {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"}
    if data is not None:
        put(world, **data)
        before = {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"}
    world.apply(**USED)
    await world.passes(reconciler, seconds=40)
    after = {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"}
    assert after == before
    status, reason, message = world.condition("Ready")
    assert (status, reason, message) == ("False", "InvalidSpec", sentence)
    put(world, **{"bot.py": SOURCE})
    assert await world.passes(reconciler, until=lambda: set(mounted(world).values()) == {SOURCE}, seconds=60)
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True", seconds=60)


async def test_the_operator_does_not_run_what_is_in_a_gateways_handlers(world: World, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    put(world, **{"bot.py": f"open({str(trace)!r}, 'w')\nasync def should_reshard(context, default, gateway): ...\n"})
    world.apply(**USED)
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    assert not trace.exists()


# --- Of the operator --------------------------------------------------------------------------------------------------


def hooks(source: str) -> Hooks:
    functions = load(side=Side.OPERATOR, source=textwrap.dedent(source))
    context = OperatorContext(log=logging.getLogger("handlers"))
    return Hooks(functions, context=context, log=logging.getLogger("handlers"), monotonic=lambda: 0.0)


async def started(world: World, used: Hooks, **reshard: Any) -> Reconciler:
    world.apply(reshard={**AUTO, **reshard})
    reconciler = world.operator(hooks=used).fleet.reconciler
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    return reconciler


async def test_should_reshard_says_when_and_to_how_many(world: World) -> None:
    used = hooks(
        """
        async def should_reshard(context, default, gateway):
            assert (gateway.name, gateway.shards, gateway.capacity) == ("bot", 4, 80) or gateway.shards == 6
            assert gateway.recommended_shards == 2 and gateway.session_starts_left > 900
            return 6 if gateway.guilds >= 50 else await default(gateway)
        """
    )
    reconciler = await started(world, used)
    await world.passes(reconciler, seconds=120)
    assert world.generations() == [1]
    world.guilds = 56  # the rule would wait for 64
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=120)
    await world.passes(reconciler, seconds=60)
    assert world.gateway()["status"]["shards"] == 6
    (past,) = world.gateway()["status"]["history"]
    assert (past["outcome"], past["reason"]) == ("Completed", "Automatic")
    await world.passes(reconciler, seconds=200)
    assert world.generations() == [2], "it is fulfilled"
    assert used.errors["should_reshard"] == 0


async def test_should_reshard_may_say_no(world: World) -> None:
    used = hooks("async def should_reshard(context, default, gateway):\n    return False\n")
    reconciler = await started(world, used)
    world.guilds = 79
    await world.passes(reconciler, seconds=300)
    assert world.generations() == [1]


async def test_should_reshard_does_not_reach_past_cooldown_budget_and_bounds(world: World) -> None:
    used = hooks("async def should_reshard(context, default, gateway):\n    return 10_000\n")
    reconciler = await started(world, used, maxShards=6)
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=200)
    await world.passes(reconciler, seconds=300)
    assert world.generations() == [2] and world.gateway()["status"]["shards"] == 6
    assert world.condition("Resharding")[1] == "MaxShards"


@pytest.mark.parametrize("body", ["raise ValueError('no')", "return 'yes'", "return -1", "return None"])
async def test_a_should_reshard_that_fails_leaves_it_to_the_rule(world: World, body: str) -> None:
    used = hooks(f"async def should_reshard(context, default, gateway):\n    {body}\n")
    reconciler = await started(world, used)
    await world.passes(reconciler, seconds=60)
    assert world.generations() == [1] and used.errors["should_reshard"] > 0
    world.guilds = 64
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=200)


async def test_reshard_is_asked_before_one_begins_and_may_leave_it_for_later(world: World) -> None:
    used = hooks(
        """
        seen = []
        _allowed = []
        async def reshard(context, default, gateway, plan):
            context.state.plans = [*getattr(context.state, "plans", []), (gateway.shards, plan.shards, plan.reason)]
            if len(context.state.plans) > 3:
                await default(gateway, plan)
        """
    )
    reconciler = await started(world, used)
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2}, reshard=AUTO)
    assert await world.passes(reconciler, until=lambda: world.generations() == [1, 2], seconds=60)
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=60)
    context: Any = used._context
    assert context.state.plans == [(4, 8, "CountChanged")] * 4, "asked until it began, and not after"
    assert used.errors["reshard"] == 0


async def test_a_reshard_handler_that_fails_does_not_keep_one_from_beginning(world: World) -> None:
    used = hooks("async def reshard(context, default, gateway, plan):\n    raise ValueError('no')\n")
    reconciler = await started(world, used)
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2}, reshard=AUTO)
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=60)
    assert used.errors["reshard"] == 1


async def test_the_example_works(world: World) -> None:
    example = Path(__file__).parents[2] / "examples" / "handlers" / "operator_handlers.py"
    used = hooks(example.read_text())
    reconciler = await started(world, used, guildsPerShard=2500)
    world.guilds = 4400  # of 10,000: the rule would wait
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=200)
    assert world.gateway()["status"]["shards"] == 9
    assert not any(used.errors.values())


# --- What is wrong with a file ----------------------------------------------------------------------------------------


def test_the_operator_does_not_start_with_a_wrong_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("async def should_reshart(context, default, gateway): ...\n")
    monkeypatch.setattr("sys.argv", ["operator", "--operator-url", "http://o", "--handlers", str(file)])
    assert program.main() == 2
    assert f'error: {file}: "should_reshart" is no handler; did you mean should_reshard?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SOURCE, '"handle_payload" is a handler of the runtime, and has no effect here (docs/handlers.md).'),
        ("x = 1", "holds no handler; write one, such as async def reshard(context, default, gateway, plan)."),
    ],
)
def test_dgw_local_refuses_a_wrong_handler_of_the_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, sentence: str
) -> None:
    file, manifest = tmp_path / "mine.py", tmp_path / "gateway.yaml"
    file.write_text(source)
    example = Path(__file__).parents[2] / "examples" / "kubernetes" / "gateway.yaml"
    manifest.write_text(example.read_text())
    assert dgw(["local", "-f", str(manifest), "--state", str(tmp_path / "state"), "--handlers", str(file)]) == 2
    assert sentence in capsys.readouterr().err
    assert dgw(["local", "-f", str(manifest), "--handlers", str(tmp_path / "nothing.py")]) == 2
