"""Leader election by a Lease object.

The leader renews the Lease every two seconds. It leads for :data:`DEADLINE_SECONDS` from when it *began* its last
successful renewal, on its own clock, and no call has to tell it that this is over. A candidate takes the Lease once it
has not changed for :data:`LEASE_SECONDS` since the candidate first saw it so, on the candidate's clock; so nobody
compares clocks, and there are three seconds in which nobody leads. A Lease that was released has no holder and is taken
at once. Every write names the resourceVersion that was read, so of two candidates one loses.

What this cannot promise, it need not: a leader that is stopped in the middle of a write may finish it later. Each write
of the operator is guarded by itself (the record by its resourceVersion, a pod's deletion by its uid), and the identify
gate of a new leader gives no permit for as long as one of the old leader's may be used.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway_operator.cluster.port import (
    LEASE,
    SERVICE,
    AlreadyExistsError,
    Cluster,
    ClusterError,
    ConflictError,
    Manifest,
    NotFoundError,
)
from gateway_operator.ports import Chance, Clock

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 10
DEADLINE_SECONDS: Final = 7.0
RENEW_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 1.0
"""How often a candidate looks; a released Lease is taken within this time."""
ADDRESS_ANNOTATION: Final = "discordgateway.dev/address"
"""On the Lease: where the leader answers HTTP."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A Lease that another holds, and since when it has been seen like this (monotonic seconds)."""

    version: str
    since: float


class Leadership:
    """One process's part in the election. To be used from one event loop."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        clock: Clock,
        chance: Chance,
        namespace: str,
        name: str,
        identity: str,
        address: str | None = None,
    ) -> None:
        """*identity* is this process's and no other's, of any time; *address* is where the others may reach it.

        Where there is a Service of the Lease's name, the Lease belongs to it: uninstalled, neither is left.
        """
        self._cluster = cluster
        self._clock = clock
        self._chance = chance
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._address = address
        self._held: Manifest | None = None
        self._until = float("-inf")
        self._seen: _Seen | None = None
        self._leader_address: str | None = None
        self._problem = ""

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""
        return self._held is not None and self._clock.monotonic() < self._until

    @property
    def leader_address(self) -> str | None:
        """Where the leader answers, when that is another process and it has said so."""
        return None if self.leading else self._leader_address

    async def acquire(self) -> None:
        """Return once this process leads. Never raises."""
        while not self.leading:
            try:
                await self._try()
            except ClusterError as error:
                self._note(error)
            if not self.leading:
                await asyncio.sleep(LOOK_SECONDS * self._chance.uniform(0.8, 1.0))
        log.info("%s leads now", self._identity)

    async def keep(self) -> None:
        """Renew until this process does not lead any more. Never raises."""
        while self.leading:
            pause = min(RENEW_SECONDS, max(0.0, self._until - self._clock.monotonic()))
            await asyncio.sleep(pause * self._chance.uniform(0.8, 1.0))
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(max(0.0, self._until - began)):
                    await self._renew(began)
            except TimeoutError:
                break
            except ClusterError as error:
                self._note(error)
                # The rest of the time is for further tries, not for one long pause.
                await asyncio.sleep(min(0.5, max(0.0, self._until - self._clock.monotonic())))
        self._held = None
        log.warning("%s does not lead any more", self._identity)

    async def release(self) -> None:
        """Stop leading, and tell the others, so that they need not wait. Never raises."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            await self._cluster.replace(self._released(held))
        except ConflictError:
            await self._release_what_is_there()
        except ClusterError as error:
            log.info("the Lease was not released and will run out: %s", error)

    async def _release_what_is_there(self) -> None:
        """A renewal was under way, and may have come first."""
        try:
            found = await self._cluster.get(LEASE, self._namespace, self._name)
            if found is not None and _holder(found) == self._identity:
                await self._cluster.replace(self._released(found))
        except ClusterError as error:
            log.info("the Lease was not released and will run out: %s", error)

    def _released(self, lease: Manifest) -> Manifest:
        return self._manifest(lease, holder="", transitions=_transitions(lease))

    # --- One try -----------------------------------------------------------------------------------------------------

    async def _try(self) -> None:
        began = self._clock.monotonic()
        found = await self._cluster.get(LEASE, self._namespace, self._name)
        if found is None:
            wanted = await self._owned(self._manifest(None, holder=self._identity, transitions=0))
            try:
                self._take(await self._cluster.create(wanted), began)
            except AlreadyExistsError:
                return
        elif self._may_take(found):
            holder = _holder(found)
            transitions = _transitions(found) + (holder != self._identity)
            wanted = await self._owned(self._manifest(found, holder=self._identity, transitions=transitions))
            try:
                self._take(await self._cluster.replace(wanted), began)
            except (ConflictError, NotFoundError):
                return
        self._problem = ""

    def _may_take(self, lease: Manifest) -> bool:
        if _holder(lease) in ("", self._identity):  # released, or a write of ours whose answer was lost
            self._leader_address = None
            return True
        self._leader_address = (lease["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION) or None
        now, version = self._clock.monotonic(), lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version, now)
            return False
        return now - self._seen.since >= _duration(lease)

    async def _renew(self, began: float) -> None:
        held = self._held
        if held is None:
            return
        wanted = self._manifest(held, holder=self._identity, transitions=_transitions(held))
        try:
            self._take(await self._cluster.replace(wanted), began)
        except ConflictError:
            # Written by somebody: by us, in a call whose answer was lost, or by another who leads now.
            found = await self._cluster.get(LEASE, self._namespace, self._name)
            if found is None or _holder(found) != self._identity:
                self._held = None
                return
            wanted = self._manifest(found, holder=self._identity, transitions=_transitions(found))
            self._take(await self._cluster.replace(wanted), began)
        except NotFoundError:
            wanted = await self._owned(self._manifest(None, holder=self._identity, transitions=0))
            self._take(await self._cluster.create(wanted), began)

    async def _owned(self, lease: Manifest) -> Manifest:
        """*lease*, to be deleted by the cluster with the Service of its name: no chart and no person knows of it."""
        try:
            service = await self._cluster.get(SERVICE, self._namespace, self._name)
        except ClusterError as error:
            log.info("the Lease will outlive the release: %s", error)
            return lease
        if service is None:
            return lease
        owner = {
            "apiVersion": SERVICE.api_version,
            "kind": SERVICE.kind,
            "name": self._name,
            "uid": service["metadata"]["uid"],
        }
        return {**lease, "metadata": {**lease["metadata"], "ownerReferences": [owner]}}

    def _take(self, lease: Manifest, began: float) -> None:
        self._held, self._seen, self._leader_address = lease, None, None
        self._until = began + DEADLINE_SECONDS

    def _manifest(self, before: Manifest | None, *, holder: str, transitions: int) -> Manifest:
        now = datetime.fromtimestamp(self._clock.unix(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = {} if before is None else before.get("spec") or {}
        same = before is not None and _holder(before) == holder
        spec: dict[str, Any] = {
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": old.get("acquireTime", now) if same else now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        if holder:
            spec["holderIdentity"] = holder
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if before is not None:
            kept = {"labels", "ownerReferences", "resourceVersion"} & before["metadata"].keys()
            metadata.update({name: before["metadata"][name] for name in kept})
        if holder and self._address is not None:
            metadata["annotations"] = {ADDRESS_ANNOTATION: self._address}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}

    def _note(self, error: ClusterError) -> None:
        if str(error) != self._problem:
            self._problem = str(error)
            log.warning("the Lease %s/%s: %s", self._namespace, self._name, error)


def _holder(lease: Manifest) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _transitions(lease: Manifest) -> int:
    return int((lease.get("spec") or {}).get("leaseTransitions") or 0)


def _duration(lease: Manifest) -> float:
    return float((lease.get("spec") or {}).get("leaseDurationSeconds") or LEASE_SECONDS)
