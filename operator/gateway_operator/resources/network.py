"""The NetworkPolicy of a gateway: its pods may go out to where its spec sends them, and nowhere else.

The operator makes it and not the chart, since only a gateway's spec says where its receiver is and in which namespace
its pods run. Policies add up: a person who needs another way out adds a policy of their own beside this one. What comes
in is not restricted here: every call but probes and metrics needs a bearer token.

Rules are about pods, not about Services: what a Service forwards reaches a pod on the pod's own port, which the URL
does not tell. So a receiver inside the cluster is its namespace, on every port. Names outside the cluster cannot be
written in a NetworkPolicy at all; there the port is what is restricted.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.api.spec import Spec
from gateway_operator.resources.naming import gateway_labels, object_metadata
from gateway_operator.resources.settings import RuntimeSettings
from shard_runtime.contract import RUNTIME_PORT

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
OPERATOR_LABELS: Final = {"app.kubernetes.io/name": "discord-gateway-operator"}
"""What the chart puts on the operator's pods."""

DNS_PORT: Final = 53
PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}

PRIVATE_V4: Final = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_V6: Final = ("fc00::/7", "fe80::/10")
"""Where a cluster's API server, its nodes and the cloud's metadata service are, and Discord is not."""


def network_policy(owner: Metadata, spec: Spec, settings: RuntimeSettings) -> dict[str, Any]:
    """``<name>``: over the pods of all generations."""
    destinations = [spec.forward.url, spec.api_url, *([] if spec.gateway_url is None else [spec.gateway_url])]
    egress = [
        {"ports": [_port(DNS_PORT, "UDP"), _port(DNS_PORT, "TCP")]},
        # Discord, wherever its API says the gateway is; those addresses change and only it knows them
        {"to": [_public("0.0.0.0/0", PRIVATE_V4), _public("::/0", PRIVATE_V6)], "ports": [_port(443)]},
        {"to": [{"podSelector": {"matchLabels": {GATEWAY_LABEL: owner.name}}}], "ports": [_port(RUNTIME_PORT)]},
        *_unique(rule for url in destinations for rule in _rules(url, owner.namespace)),
        *_operator(settings.operator_url, owner.namespace),
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_metadata(owner, owner.name, labels=gateway_labels(owner.name)),
        "spec": {
            "podSelector": {"matchLabels": {GATEWAY_LABEL: owner.name}},
            "policyTypes": ["Egress"],
            "egress": egress,
        },
    }


def namespaces_of(host: str, own: str) -> tuple[str, ...]:
    """Namespaces that *host* may name a Service of, asked from namespace *own*; none for a name outside the cluster.

    ``a.b`` is a Service in namespace ``b`` or a domain: both are possible.
    """
    labels = host.rstrip(".").split(".")
    if labels[2:3] == ["svc"]:
        return (labels[1],)
    if len(labels) == 1:
        return (own,)
    return (labels[1],) if len(labels) == 2 else ()


def _rules(url: str, own: str) -> list[dict[str, Any]]:
    """What lets pods of namespace *own* reach *url*."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443)
    block = _address_block(host)
    if block is not None:
        return [{"to": [{"ipBlock": {"cidr": block}}], "ports": [_port(port)]}]
    rules: list[dict[str, Any]] = [{"to": [_namespace(name)]} for name in namespaces_of(host, own)]
    inside = bool(rules) and ("." not in host or ".svc" in host)
    # Discord's own port is open to every public address already
    if not inside and not (port == 443 and host.endswith(("discord.com", "discord.gg"))):
        rules.append({"ports": [_port(port)]})
    return rules


def _operator(url: str, own: str) -> list[dict[str, Any]]:
    """The operator's pods in the namespace that its Service's URL names; else whatever the URL leads to."""
    parts = urlsplit(url)
    namespaces = namespaces_of(parts.hostname or "", own)
    if len(namespaces) != 1 or _address_block(parts.hostname or "") is not None:
        return _rules(url, own)
    peer = {**_namespace(namespaces[0]), "podSelector": {"matchLabels": OPERATOR_LABELS}}
    return [{"to": [peer], "ports": [_port(RUNTIME_PORT)]}]


def _address_block(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}}


def _public(cidr: str, private: Iterable[str]) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, "except": list(private)}}


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"protocol": protocol, "port": number}


def _unique(rules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return kept
