"""Calls from a pod's supervisor to a worker over a socketpair: length-prefixed JSON, answered in any order.

A socketpair also tells each side at once when the other has died: the supervisor sees the end of the stream and starts
a new worker, a worker sees it and stops, since sessions without a supervisor would have no role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from shard_runtime.orders import Answer, Failed, FromWorker, Question, ToWorker

LARGEST_FRAME: Final = 256 << 20
"""The windows of a busy pod are some megabytes; anything past this is a broken stream."""

Handler = Callable[[ToWorker], Awaitable[FromWorker]]

_question_decoder = msgspec.json.Decoder(Question)
_answer_decoder = msgspec.json.Decoder(Answer)


class LinkLostError(Exception):
    """The worker is gone or did not answer in time."""


class WorkerLink(Protocol):
    """The supervisor's end of a channel."""

    async def call(self, body: ToWorker, *, timeout: float) -> FromWorker:
        """The worker's answer. Raises :class:`LinkLostError` when there is none within *timeout* seconds."""
        ...


class DirectLink:
    """A worker in the same process and loop: for runs of the whole system in one process, on a virtual clock.

    Messages are encoded and decoded on the way, as between processes.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def call(self, body: ToWorker, *, timeout: float) -> FromWorker:
        question = _question_decoder.decode(msgspec.json.encode(Question(id=0, body=body)))
        try:
            async with asyncio.timeout(timeout):
                answer = await _handled(self._handler, question)
        except TimeoutError as error:
            raise LinkLostError(f"no answer within {timeout:g} s") from error
        return _answer_decoder.decode(msgspec.json.encode(answer)).body


class StreamLink:
    """A worker at the other end of a stream. :meth:`run` must be running for calls to be answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[FromWorker]] = {}
        self._next = 1
        self._lost = False

    async def call(self, body: ToWorker, *, timeout: float) -> FromWorker:
        if self._lost:
            raise LinkLostError("the worker is gone")
        number, self._next = self._next, self._next + 1
        future: asyncio.Future[FromWorker] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(timeout):
                await write_frame(self._writer, msgspec.json.encode(Question(id=number, body=body)))
                return await future
        except TimeoutError as error:
            raise LinkLostError(f"no answer within {timeout:g} s") from error
        except OSError as error:
            raise LinkLostError(f"the worker is gone: {error}") from error
        finally:
            self._waiting.pop(number, None)

    async def run(self) -> None:
        """Hand out answers until the worker's end closes."""
        try:
            while (data := await read_frame(self._reader)) is not None:
                answer = _answer_decoder.decode(data)
                future = self._waiting.get(answer.id)
                if future is not None and not future.done():
                    future.set_result(answer.body)
        finally:
            self._lost = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LinkLostError("the worker is gone"))
            self._writer.close()


async def serve_channel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    """The worker's end: answer questions, each in a task of its own, until the supervisor's end closes."""

    async def answer(question: Question) -> None:
        data = msgspec.json.encode(await _handled(handler, question))
        try:
            await write_frame(writer, data)
        except OSError:
            return  # the supervisor is gone; the reading side sees it too

    async with asyncio.TaskGroup() as answers:
        while (data := await _read_frame_or_end(reader)) is not None:
            answers.create_task(answer(_question_decoder.decode(data)))


async def _handled(handler: Handler, question: Question) -> Answer:
    try:
        return Answer(id=question.id, body=await handler(question.body))
    except OSError as error:  # a seal that the disk does not take must not be promised, and the asker told
        return Answer(id=question.id, body=Failed(error=f"The disk failed: {error.strerror or error}."))


async def _read_frame_or_end(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await read_frame(reader)
    except ConnectionError:
        return None


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, None at the end of the stream. Raises ``ValueError`` on a frame past :data:`LARGEST_FRAME`."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > LARGEST_FRAME:
            raise ValueError(f"a frame of {size} bytes on the channel")
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def write_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(len(data).to_bytes(4, "big") + data)
    await writer.drain()
