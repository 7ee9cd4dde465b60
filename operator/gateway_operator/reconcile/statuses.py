"""Writes statuses, also where the CustomResourceDefinition in the cluster is older than this operator.

A chart that leaves the definition to somebody else (``crds.install=false``) can leave an old one behind, and then the
API server refuses a whole status for one field that it does not know. Nothing that is decided depends on a status being
written; so what it knows is written, the rest is left out, and a condition says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway_operator.api.crd import structural
from gateway_operator.api.status import Status
from gateway_operator.cluster.port import Cluster, ClusterError, Manifest, RefusedError, UncertainError
from gateway_operator.ports import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
"""Between two looks at the cluster's definition while something does not fit."""
MOST_NAMED: Final = 5
LEAST: Final = ("observedGeneration", "conditions")
"""What every version of the definition has."""

_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"


class StatusWriter:
    """Statuses of all gateways of one operator."""

    def __init__(self, *, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._schema: Manifest | None = None
        self._looked = float("-inf")
        self._said: str | None = None
        self.problem: str | None = None
        """A sentence for people while the cluster's definition is older than this operator."""

    async def look(self) -> None:
        """See which fields the API server knows; never raises."""
        self._looked = self._clock.monotonic()
        try:
            schema = await self._cluster.status_schema()
        except ClusterError as error:
            log.info("the definition of DiscordGateway could not be read: %s", error)
            return
        lacking = [] if schema is None else list(_lacking(structural(Status, defaults=False), schema, "status"))
        self._schema = schema if lacking else None
        self.problem = _sentence(lacking) if lacking else None
        if self.problem is not None and self.problem != self._said:
            log.error("%s", self.problem)
        self._said = self.problem

    async def look_again(self) -> None:
        """While something does not fit, see now and then whether somebody has applied the present definition."""
        if self.problem is not None and self._clock.monotonic() - self._looked >= LOOK_SECONDS:
            await self.look()

    async def write(self, namespace: str, name: str, status: Status) -> bool:
        """Write what the API server takes of *status*; False where it refuses all of it. Raises ``ClusterError``."""
        whole, known = status.manifest(), self._schema
        try:
            await self._cluster.update_status(namespace, name, self._fitting(whole))
            return True
        except (RefusedError, UncertainError) as error:
            first = error
        if self._clock.monotonic() - self._looked >= LOOK_SECONDS:
            await self.look()
        if isinstance(first, UncertainError) and self._schema == known:
            raise first  # an API server that is away, and not one that knows less
        least = {key: value for key, value in whole.items() if key in LEAST}
        for manifest in (self._fitting(whole), self._fitting(least)):
            try:
                await self._cluster.update_status(namespace, name, manifest)
            except RefusedError:
                continue
            return True
        if str(first) != self._said:
            self._said = str(first)
            log.error("%s/%s: the status could not be written: %s", namespace, name, first)
        return False

    def _fitting(self, manifest: Manifest) -> Manifest:
        if self._schema is None:
            return manifest
        fitted: Manifest = _fit(manifest, self._schema)
        return fitted


class _MisfitError(Exception):
    """A value is not what the schema takes."""


def _fit(value: Any, schema: Mapping[str, Any]) -> Any:
    """*value* without what *schema* does not know. Raises :class:`_MisfitError` where nothing is left of it."""
    if "enum" in schema and value not in schema["enum"]:
        raise _MisfitError
    if isinstance(value, dict) and "properties" in schema and not schema.get(_PRESERVE):
        kept = {}
        for name, inner in value.items():
            if name in schema["properties"]:
                try:
                    kept[name] = _fit(inner, schema["properties"][name])
                except _MisfitError:
                    continue
        if any(name not in kept for name in schema.get("required", ())):
            raise _MisfitError
        return kept
    if isinstance(value, list) and "items" in schema:
        fitted = []
        for inner in value:
            try:
                fitted.append(_fit(inner, schema["items"]))
            except _MisfitError:
                continue
        return fitted
    return value


def _lacking(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str) -> Iterator[str]:
    """Paths of fields and values that this operator writes and *theirs* does not know."""
    if theirs.get(_PRESERVE):
        return
    yield from (f"{path}={value}" for value in ours.get("enum", ()) if value not in theirs.get("enum", (value,)))
    for name, schema in ours.get("properties", {}).items():
        known = theirs.get("properties", {})
        if name in known:
            yield from _lacking(schema, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    if "items" in ours and "items" in theirs:
        yield from _lacking(ours["items"], theirs["items"], f"{path}[]")


def _sentence(lacking: list[str]) -> str:
    more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
    return (
        "The CustomResourceDefinition discordgateways.discordgateway.dev is older than the operator: it lacks "
        f"{', '.join(lacking[:MOST_NAMED])}{more}, which are left out of the status, and new fields of the spec are "
        "ignored. Apply the definition of this version (crds/discordgateways.yaml), or let the chart do it "
        "(crds.install=true)."
    )
