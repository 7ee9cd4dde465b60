"""Calls to runtime pods: their status, and the record pushed to them. Many at a time, none for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway_operator.ports import HttpClient, HttpError
from shard_runtime.contract import PodStatus, Record, decode, encode

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 2.0
MAX_PARALLEL_CALLS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod that exists: its name, and where it answers once it has an address."""

    generation: int
    index: int
    name: str
    uid: str
    url: str | None


class PodCalls:
    """Bounded calls to the pods of all gateways."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._room = asyncio.Semaphore(MAX_PARALLEL_CALLS)

    async def statuses(self, pods: Iterable[PodAddress], *, token: str) -> dict[str, PodStatus]:
        """Statuses by pod name of those that answered; never raises."""
        asked = [pod for pod in pods if pod.url is not None]
        answers = await asyncio.gather(*(self._status(pod, token) for pod in asked))
        return {pod.name: status for pod, status in zip(asked, answers, strict=True) if status is not None}

    async def push_record(self, pods: Iterable[PodAddress], record: Record, *, token: str) -> None:
        """``PUT /v1/record``; a pod that does not take it reads the mounted record instead. Never raises."""
        await asyncio.gather(*(self._push(pod, record, token) for pod in pods if pod.url is not None))

    async def _status(self, pod: PodAddress, token: str) -> PodStatus | None:
        async with self._room:
            try:
                answer = await self._http.request(
                    "GET", f"{pod.url}/v1/status", headers=_headers(token), timeout=TIMEOUT_SECONDS
                )
            except HttpError as error:
                log.debug("pod %s: %s", pod.name, error)
                return None
        if answer.status != 200:
            log.warning("pod %s answered %d to GET /v1/status", pod.name, answer.status)
            return None
        try:
            return decode(answer.body, PodStatus)
        except msgspec.DecodeError as error:
            log.warning("pod %s answered a status that cannot be read: %s", pod.name, error)
            return None

    async def _push(self, pod: PodAddress, record: Record, token: str) -> None:
        async with self._room:
            try:
                answer = await self._http.request(
                    "PUT",
                    f"{pod.url}/v1/record",
                    headers={**_headers(token), "content-type": "application/json"},
                    body=encode(record),
                    timeout=TIMEOUT_SECONDS,
                )
            except HttpError as error:
                log.debug("pod %s: %s", pod.name, error)
                return
        if answer.status >= 300:
            log.warning("pod %s answered %d to PUT /v1/record", pod.name, answer.status)


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
