"""The virtual world keeps its own promises: time, order, cuts, crashes, and the same story from the same seed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
from virtual.disk import VirtualDisk
from virtual.loop import DeadlockError, run_virtual
from virtual.network import Request
from virtual.sockets import ServerSocket, SocketClosedError
from virtual.world import World, run_world

from shard_runtime.ports import NetworkError, Response, SpillError, SpillTransaction


class Listener:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: list[int | None] = []

    def on_frames(self, messages: Sequence[bytes]) -> None:
        self.frames += messages

    def on_closed(self, code: int | None, reason: str) -> None:
        self.closed.append(code)


async def echo(socket: ServerSocket) -> None:
    try:
        while True:
            socket.send(await socket.receive())
    except SocketClosedError:
        pass


async def fine(request: Request) -> Response:
    return Response(status=200, headers={}, body=request.body)


def test_a_day_takes_no_time_and_timers_fire_in_order() -> None:
    async def main() -> list[float]:
        fired: list[float] = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(wait(seconds) for seconds in (86400, 5, 0.001, 5)))
        assert await asyncio.to_thread(lambda: 7) == 7
        return fired

    assert run_virtual(main()) == [0.001, 5, 5, 86400]


def test_a_world_in_which_nothing_can_happen_any_more_says_so() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        run_virtual(main())


def test_real_sockets_are_out_of_reach() -> None:
    async def main() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    with pytest.raises(RuntimeError, match="no sockets"):
        run_virtual(main())


def test_an_exception_that_would_only_be_logged_fails_the_run() -> None:
    async def story(world: World) -> None:
        async def broken(request: Request) -> Response:
            raise ZeroDivisionError

        world.network.serve("h", http=broken)
        with pytest.raises(NetworkError):
            await world.process("p").network.request("GET", "http://h/", headers={}, timeout=1)

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_world(story)


def trace(seed: int) -> list[tuple[float, bytes]]:
    async def story(world: World) -> list[tuple[float, bytes]]:
        seen: list[tuple[float, bytes]] = []

        async def note(socket: ServerSocket) -> None:
            try:
                while True:
                    seen.append((world.clock.monotonic(), await socket.receive()))
            except SocketClosedError:
                pass

        world.network.serve("h", websocket=note)

        async def client(name: str) -> None:
            process = world.process(name)
            socket = await process.network.connect("ws://h/", Listener(), timeout=5)
            for number in range(20):
                await process.clock.sleep(process.chance.uniform(0, 0.01))
                socket.send(f"{name}{number}".encode())

        await asyncio.gather(client("a"), client("b"), client("c"))
        await asyncio.sleep(1)
        return seen

    return run_world(story, seed=seed)


def test_the_same_seed_tells_the_same_story_and_another_one_another() -> None:
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)
    for name in (b"a", b"b", b"c"):
        assert [data for _, data in trace(3) if data[:1] == name] == [
            name + str(number).encode() for number in range(20)
        ]


def test_a_cut_holds_what_is_sent_until_it_heals_and_refuses_what_is_new() -> None:
    async def story(world: World) -> None:
        world.network.serve("h", websocket=echo, http=fine)
        pod, listener = world.process("pod"), Listener()
        socket = await pod.network.connect("ws://h/", listener, timeout=5)
        world.network.links.cut("pod", "h")
        socket.send(b"1")
        socket.send(b"2")
        with pytest.raises(NetworkError, match="no websocket within 3 s"):
            await pod.network.connect("ws://h/", Listener(), timeout=3)
        with pytest.raises(NetworkError, match="no answer within 3 s"):
            await pod.network.request("GET", "http://h/", headers={}, timeout=3)
        other = await world.process("other").network.request("GET", "http://h/", headers={}, body=b"x", timeout=3)
        assert (other.body, listener.frames) == (b"x", [])
        world.network.links.heal()
        await asyncio.sleep(1)
        assert listener.frames == [b"1", b"2"]

    run_world(story)


def test_an_answer_can_be_lost_after_the_deed_was_done() -> None:
    async def story(world: World) -> None:
        served: list[bytes] = []

        async def remember(request: Request) -> Response:
            served.append(request.body)
            return Response(status=200, headers={}, body=b"")

        world.network.serve("h:8080", http=remember)
        world.network.faults.lose_answer = 1.0
        with pytest.raises(NetworkError):
            await world.process("p").network.request("POST", "http://h:8080/", headers={}, body=b"deed", timeout=1)
        assert served == [b"deed"]

    run_world(story)


def test_a_killed_process_neither_hears_nor_speaks_nor_writes() -> None:
    async def story(world: World) -> None:
        ended: list[int | None] = []

        async def talk(socket: ServerSocket) -> None:
            try:
                while True:
                    await socket.receive()
            except SocketClosedError as closed:
                ended.append(closed.code)

        world.network.serve("h", websocket=talk, http=fine)
        pod, listener, path = world.process("pod"), Listener(), Path("/state")

        async def work() -> None:
            await pod.network.connect("ws://h/", listener, timeout=5)
            pod.disk.write(path, b"before")
            try:
                await asyncio.sleep(1000)
            finally:
                pod.disk.write(path, b"after")

        pod.spawn(work(), name="work")
        await asyncio.sleep(1)
        pod.kill()
        await asyncio.sleep(1)
        assert (ended, listener.closed) == ([None], [])
        assert world.process("pod").disk.read(path) == b"before"

    run_world(story)


def test_a_crashed_server_resets_its_clients() -> None:
    async def story(world: World) -> None:
        world.network.serve("h:1", node="server", websocket=echo, http=fine)
        pod, listener = world.process("pod"), Listener()
        await pod.network.connect("ws://h:1/", listener, timeout=5)
        world.network.crash_servers("server")
        await asyncio.sleep(1)
        assert listener.closed == [None]
        with pytest.raises(NetworkError, match="h:1: connection refused"):
            await pod.network.request("GET", "http://h:1/", headers={}, timeout=5)

    run_world(story)


def test_reading_can_be_paused_and_closing_has_codes_both_ways() -> None:
    async def story(world: World) -> None:
        sockets: list[ServerSocket] = []

        async def keep(socket: ServerSocket) -> None:
            sockets.append(socket)
            await echo(socket)

        world.network.serve("h", websocket=keep)
        pod, listener, second = world.process("pod"), Listener(), Listener()
        socket = await pod.network.connect("ws://h/", listener, timeout=5)
        socket.pause_reading()
        for _ in range(3):
            socket.send(b"x")
        await asyncio.sleep(1)
        assert (listener.frames, sockets[0].unread) == ([], 3)
        socket.resume_reading()
        await asyncio.sleep(1)
        assert listener.frames == [b"x"] * 3
        socket.close(4000)
        await pod.network.connect("ws://h/", second, timeout=5)
        await asyncio.sleep(1)
        sockets[1].close(4009)
        await asyncio.sleep(1)
        assert (listener.closed, second.closed) == ([4000], [4009])

    run_world(story)


def test_a_power_cut_takes_what_was_not_synced() -> None:
    disk, path, other = VirtualDisk(), Path("/a"), Path("/b")
    disk.write(path, b"synced")
    disk.write_soon(path, b"cached")
    disk.write_soon(other, b"cached")
    assert disk.read(path) == b"cached"
    disk.power_cut()
    assert (disk.read(path), disk.read(other)) == (b"synced", None)
    disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        disk.write(path, b"new")
    assert disk.read(path) == b"synced"
    disk.wipe()
    assert disk.files() == []


def test_what_could_not_be_synced_is_read_until_a_power_cut_takes_it() -> None:
    disk, path = VirtualDisk(), Path("/a")
    disk.write(path, b"synced")
    disk.fail_syncs = OSError(errno.EIO, "Input/output error")
    disk.write_soon(path, b"cached")
    with pytest.raises(OSError, match="Input/output"):
        disk.write(path, b"not synced")
    assert disk.read(path) == b"not synced"
    disk.power_cut()
    assert disk.read(path) == b"synced"


def test_a_read_only_disk_keeps_its_files() -> None:
    disk, path = VirtualDisk(), Path("/a")
    disk.write(path, b"kept")
    disk.fail_removals = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(OSError, match="Read-only"):
        disk.remove(path)
    disk.remove(Path("/b"))
    assert disk.read(path) == b"kept"


def test_a_store_fails_as_its_disk_does() -> None:
    async def story(world: World) -> None:
        disk = world.disk("pod")
        spill = world.process("pod").disk.spill(Path("/spill"))
        disk.fail_syncs = OSError(errno.EIO, "Input/output error")
        await spill.commit(SpillTransaction(notes={"a": b"1"}, durable=False))
        with pytest.raises(SpillError, match="Input/output"):
            await spill.commit(SpillTransaction(notes={"a": b"2"}))
        assert dict(spill.load()[0]) == {"a": b"1"}

    run_world(story)


def test_clocks_of_machines_can_be_off() -> None:
    async def story(world: World) -> None:
        fast = world.process("fast", skew_seconds=30, rate=1.01)
        await world.clock.sleep(1000)
        assert fast.clock.monotonic() == pytest.approx(1010)
        assert fast.clock.unix_milliseconds() - world.clock.unix_milliseconds() == pytest.approx(40_000, abs=2)

    run_world(story)
