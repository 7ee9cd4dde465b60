"""Where the pods of this gateway answer, and the calls that a target's worker makes to the old ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from shard_runtime import contract
from shard_runtime.ports import Disk, Network, NetworkError, Response

CALL_SECONDS: Final = 15.0
"""A seal is fsynced before it is answered, and its windows can be some megabytes."""

COMMAND_SECONDS: Final = 20.0
"""A command may wait for its shard's session, and may be passed on once more."""


_Reply = TypeVar("_Reply", contract.HandoverReply, contract.ReceivedReply)


class SiblingError(Exception):
    """A sibling pod did not answer as it should; the text says which and why."""


class Siblings:
    def __init__(self, *, pod_url: str, bearer: Callable[[], str], network: Network, disk: Disk) -> None:
        """*pod_url* is :attr:`contract.RuntimeConfig.pod_url`."""
        self._pod_url = pod_url
        self._bearer = bearer
        self._network = network
        self._disk = disk

    def base_url(self, generation: int, pod: int) -> str:
        """Where a pod answers now. Raises :class:`SiblingError` when the file that tells does not know it."""
        if not self._pod_url.startswith("file:"):
            return self._pod_url.replace("{generation}", str(generation)).replace("{pod}", str(pod)).rstrip("/")
        path = Path(self._pod_url.removeprefix("file:"))
        try:
            data = self._disk.read(path)
            known = {} if data is None else msgspec.json.decode(data, type=dict[str, str])
        except (OSError, msgspec.DecodeError) as error:
            raise SiblingError(f"{path} cannot be read: {error}") from error
        url = known.get(f"{generation}/{pod}")
        if url is None:
            raise SiblingError(f"{path} does not name pod {pod} of generation {generation}")
        return url.rstrip("/")

    async def seal(self, generation: int, pod: int, request: contract.HandoverRequest) -> contract.HandoverReply:
        """Ask an old pod to seal; repeating it is harmless. Raises :class:`SiblingError`."""
        return await self._ask("seal", generation, pod, request, contract.HandoverReply)

    async def window(self, generation: int, pod: int, request: contract.HandoverRequest) -> contract.HandoverReply:
        """Ask an old pod for its windows without effect. Raises :class:`SiblingError`."""
        return await self._ask("window", generation, pod, request, contract.HandoverReply)

    async def command(self, generation: int, pod: int, request: contract.CommandRequest) -> Response:
        """Hand a command to a pod; whatever it answers is the answer. Raises :class:`SiblingError` if it does not."""
        url = f"{self.base_url(generation, pod)}/v1/commands"
        return await self._post(generation, pod, url, contract.encode(request), COMMAND_SECONDS)

    async def _post(self, generation: int, pod: int, url: str, body: bytes, timeout: float) -> Response:
        headers = {"authorization": f"Bearer {self._bearer()}", "content-type": "application/json"}
        try:
            return await self._network.request("POST", url, headers=headers, body=body, timeout=timeout)
        except NetworkError as error:
            raise SiblingError(f"pod {pod} of generation {generation} cannot be reached: {error}") from error

    async def received(self, generation: int, pod: int, request: contract.ReceivedRequest) -> contract.ReceivedReply:
        """Ask a sealed pod what its sessions went on receiving. Raises :class:`SiblingError`."""
        return await self._ask("received", generation, pod, request, contract.ReceivedReply)

    async def _ask(self, call: str, generation: int, pod: int, request: contract.Wire, into: type[_Reply]) -> _Reply:
        url = f"{self.base_url(generation, pod)}/v1/handover/{call}"
        response = await self._post(generation, pod, url, contract.encode(request), CALL_SECONDS)
        if response.status != 200:
            try:
                reason = contract.decode(response.body, contract.Problem).error
            except msgspec.DecodeError:
                reason = "no reason given"
            raise SiblingError(f"pod {pod} of generation {generation} answered {response.status}: {reason}")
        try:
            reply = contract.decode(response.body, into)
        except msgspec.DecodeError as error:
            raise SiblingError(f"pod {pod} of generation {generation}: {error}") from error
        if reply.generation != generation:
            raise SiblingError(f"{url} is answered by generation {reply.generation} instead of {generation}")
        return reply
