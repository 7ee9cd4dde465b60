"""The handlers that ``spec.handlers`` names: the text that pods get, or a sentence about what is wrong.

It is compiled to find a slip of the pen before a pod is replaced for it, and never run here: it is the gateway's
owner's code, and the operator acts for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.spec import Spec
from gateway_operator.cluster.port import CONFIG_MAP, Cluster


@dataclass(frozen=True, slots=True)
class HandlerFile:
    """*source* is None without ``spec.handlers``, and where *problem* says what keeps it from being used."""

    source: str | None = None
    problem: str | None = None


async def read_handler_file(cluster: Cluster, owner: Metadata, spec: Spec | None) -> HandlerFile:
    """What ``spec.handlers`` names, as it is now. Raises :class:`ClusterError`."""
    if spec is None or spec.handlers is None:
        return HandlerFile()
    reference = spec.handlers.config_map_ref
    name = f"ConfigMap {owner.namespace}/{reference.name}"
    manifest = await cluster.get(CONFIG_MAP, owner.namespace, reference.name)
    if manifest is None:
        return HandlerFile(problem=f"{name} does not exist; spec.handlers.configMapRef.name names it.")
    data: dict[str, str] = manifest.get("data") or {}
    source = data.get(reference.key)
    if source is None:
        keys = ", ".join(sorted(data)) or "none"
        return HandlerFile(
            problem=f'{name} has no key "{reference.key}" (keys: {keys}). Set spec.handlers.configMapRef.key.'
        )
    try:
        compile(source, reference.key, "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        return HandlerFile(problem=f"{name}, {reference.key}{where}: {what}.")
    return HandlerFile(source=source)
