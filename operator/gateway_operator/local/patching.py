"""What ``dgw local patch`` does to a stored gateway, and the names that both ends of it agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from gateway_operator.cluster.port import GATEWAY, Manifest
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.local.manifests import DEFAULT_NAMESPACE, ManifestError, gateway_problems, merged

PATH: Final = "/v1/local/patch"
TOKEN_FILE: Final = "control-token"


def token_path(state: Path) -> Path:
    return state / TOKEN_FILE


def patch_stored(store: ObjectStore, *, namespace: str | None, name: str | None, patch: Any) -> Manifest:
    """Merge *patch* into the spec of a stored gateway; *name* may be left out where there is only one.

    *patch* is what ``kubectl patch --type=merge`` would take, or only the part below ``spec``. Raises
    :class:`ManifestError`.
    """
    gateway = _chosen(store, namespace, name)
    metadata = gateway["metadata"]
    if not isinstance(patch, dict):
        raise ManifestError('The patch is not a JSON object; write one like {"spec":{"shards":{"count":16}}}.')
    if "spec" in patch and len(patch) > 1:
        others = ", ".join(sorted(key for key in patch if key != "spec"))
        raise ManifestError(f"The patch changes {others}; only spec can be patched here.")
    wanted = merged(gateway["spec"], patch.get("spec", patch))
    problems = gateway_problems({**gateway, "spec": wanted})
    if problems:
        raise ManifestError(*problems)
    changed = store.change(GATEWAY, metadata["namespace"], metadata["name"], lambda stored: stored.update(spec=wanted))
    if changed is None:
        raise ManifestError(f"DiscordGateway {metadata['namespace']}/{metadata['name']} is gone.")
    return changed


def _chosen(store: ObjectStore, namespace: str | None, name: str | None) -> Manifest:
    known = store.select(GATEWAY, None, {})
    if name is None:
        found = [gateway for gateway in known if namespace in (None, gateway["metadata"]["namespace"])]
        if len(found) == 1:
            return found[0]
        names = ", ".join(gateway["metadata"]["name"] for gateway in found) or "none"
        raise ManifestError(f"Name one DiscordGateway to patch (there are: {names}).")
    gateway = store.get(GATEWAY, namespace or DEFAULT_NAMESPACE, name)
    if gateway is None:
        names = ", ".join(gateway["metadata"]["name"] for gateway in known) or "none"
        raise ManifestError(f"There is no DiscordGateway {namespace or DEFAULT_NAMESPACE}/{name} (there are: {names}).")
    return gateway
