"""The NetworkPolicies over a pod, as they are written in the API server, enforced where the cluster's network does not.

Every policy that selects the pod is resolved to addresses and ports as they are now, and iptables in the pod's own
network namespace lets these pass and nothing else. A pod that comes later, or gets another address, is not let through.

A policy is about pods: a plugin looks at it after a Service's address has become that of one of the Service's pods.
kube-proxy makes that change in the node's namespace, which a packet reaches after these rules, so that here it still
goes to the Service. Therefore a Service's port passes if all endpoints behind it may be reached, and never for its own
address, in whatever ipBlock that lies.
https://kubernetes.io/docs/concepts/services-networking/network-policies/

IPv4 alone: the pods of node/ have no other address.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any, Final

from chaos.machine import Process
from chaos.network import within

from harness.kubectl import Kubectl

ANYWHERE: Final = IPv4Network("0.0.0.0/0")
_SECONDS: Final = 20.0

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What policies are resolved by."""

    policies: Sequence[Object] = ()
    namespaces: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    services: Sequence[Object] = ()
    endpoints: Sequence[Object] = ()
    """EndpointSlices."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What may be reached, or come in; None is all."""

    network: IPv4Network
    protocol: str | None = None
    ports: tuple[int, int] | None = None
    """The first and the last."""

    def admits(self, address: str, protocol: str, port: int) -> bool:
        fits = self.ports is None or self.ports[0] <= port <= self.ports[1]
        return fits and self.protocol in (None, protocol) and IPv4Address(address) in self.network

    def match(self, side: str) -> str:
        """As iptables tells such packets; *side* is ``-d`` or ``-s``."""
        protocol = "" if self.protocol is None else f" -p {self.protocol.lower()}"
        ports = "" if self.ports is None else f" --dport {self.ports[0]}:{self.ports[1]}"
        return f"{side} {self.network}{protocol}{ports}"


def restore(pod: Object, world: World) -> str:
    """What ``iptables-restore`` is given; empty where no policy is over *pod*."""
    over = [policy for policy in world.policies if _is_over(policy, pod)]
    lines = []
    for kind, chain, device, side in (("Egress", "OUTPUT", "-o", "-d"), ("Ingress", "INPUT", "-i", "-s")):
        policies = [policy for policy in over if kind in policy["spec"]["policyTypes"]]
        if not policies:
            continue
        rules = [rule for policy in policies for rule in policy["spec"].get(kind.lower()) or []]
        opened = list(dict.fromkeys(opening for rule in rules for opening in openings(rule, pod, world, kind=kind)))
        if kind == "Ingress":
            opened.insert(0, Opening(ip_network(pod["status"]["hostIP"])))  # the kubelet's probes
        own = f"POLICY-{chain}"
        lines += [f":{own} - [0:0]", f"-A {own} {device} lo -j ACCEPT"]
        lines.append(f"-A {own} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
        if kind == "Egress":
            lines += [f"-A {own} {line}" for line in _services(opened, world)]
        lines += [f"-A {own} {opening.match(side)} -j ACCEPT" for opening in opened]
        lines += [f"-A {own} -j DROP", f"-I {chain} -j {own}"]
    return "\n".join(["*filter", *lines, "COMMIT", ""]) if lines else ""


def openings(rule: Object, pod: Object, world: World, *, kind: str) -> Iterator[Opening]:
    """What *rule* of a policy over *pod* lets through."""
    peers = rule.get("to" if kind == "Egress" else "from")
    for network, peer in _peers(peers, pod, world) if peers else [(ANYWHERE, None)]:
        if not rule.get("ports"):
            yield Opening(network)
        for port in rule.get("ports") or []:
            protocol, first = port.get("protocol", "TCP"), port.get("port")
            if isinstance(first, str):
                # a name is a pod's own; of an address nobody knows what it would be
                first = _named(peer if kind == "Egress" else pod, first, protocol)
                if first is None:
                    continue
            yield Opening(network, protocol, None if first is None else (first, port.get("endPort", first)))


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector of Kubernetes is met; an empty one always is."""
    met = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        met[each["operator"]](each["key"], each.get("values") or []) for each in selector.get("matchExpressions") or []
    )


def _is_over(policy: Object, pod: Object) -> bool:
    here = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return here and selects(policy["spec"].get("podSelector") or {}, _labels(pod))


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _peers(peers: Iterable[Object], pod: Object, world: World) -> Iterator[tuple[IPv4Network, Object | None]]:
    for peer in peers:
        if "ipBlock" in peer:
            yield from ((network, None) for network in _without(peer["ipBlock"]))
            continue
        names = {pod["metadata"]["namespace"]}
        if "namespaceSelector" in peer:
            named = {each["metadata"]["name"]: _labels(each) for each in world.namespaces}
            names = {name for name, labels in named.items() if selects(peer["namespaceSelector"], labels)}
        yield from (
            (IPv4Network(each["status"]["podIP"]), each)
            for each in world.pods
            if _has_an_address(each)
            and each["metadata"]["namespace"] in names
            and selects(peer.get("podSelector") or {}, _labels(each))
        )


def _has_an_address(pod: Object) -> bool:
    """Of its own: in its node's network it is that node to a policy, and an ended one's address is another's by now."""
    ended = pod["status"].get("phase") in ("Succeeded", "Failed")
    return bool(pod["status"].get("podIP")) and not ended and not pod["spec"].get("hostNetwork")


def _without(block: Object) -> list[IPv4Network]:
    """An ipBlock's addresses but for its exceptions; none of another family."""
    network = ip_network(block["cidr"])
    left = [network] if isinstance(network, IPv4Network) else []
    for exception in map(IPv4Network, block.get("except") or [] if left else []):
        kept: list[IPv4Network] = []
        for each in left:
            if exception.subnet_of(each):
                kept.extend(each.address_exclude(exception))
            elif not each.subnet_of(exception):
                kept.append(each)
        left = kept
    return sorted(left)


def _named(pod: Object | None, name: str, protocol: str) -> int | None:
    for container in pod["spec"]["containers"] if pod else []:
        for port in container.get("ports") or []:
            if (port.get("name"), port.get("protocol", "TCP")) == (name, protocol):
                return int(port["containerPort"])
    return None


def _services(opened: Sequence[Opening], world: World) -> Iterator[str]:
    for service in world.services:
        address = service["spec"].get("clusterIP", "None")
        if address in ("", "None") or ip_address(address).version != 4:
            continue
        for port in service["spec"].get("ports") or []:
            protocol = port.get("protocol", "TCP")
            behind = list(_endpoints(service, port.get("name") or "", world))
            if behind and all(any(each.admits(ip, protocol, number) for each in opened) for ip, number in behind):
                itself = Opening(IPv4Network(address), protocol, (port["port"], port["port"]))
                yield f"{itself.match('-d')} -j ACCEPT"
        yield f"-d {address} -j DROP"


def _endpoints(service: Object, port: str, world: World) -> Iterator[tuple[str, int]]:
    wanted = service["metadata"]["namespace"], service["metadata"]["name"]
    for each in world.endpoints:
        if (each["metadata"]["namespace"], _labels(each).get("kubernetes.io/service-name")) == wanted:
            numbers = [its["port"] for its in each.get("ports") or [] if (its.get("name") or "") == port]
            addresses = [ip for endpoint in each.get("endpoints") or [] for ip in endpoint["addresses"]]
            yield from ((ip, number) for ip in addresses for number in numbers)


def observe(kubectl: Kubectl) -> World:
    """The whole cluster, as it is now."""
    kinds = ("networkpolicies", "namespaces", "pods", "services", "endpointslices")
    everywhere = (kubectl.everywhere(kind) for kind in kinds)
    return World(**dict(zip(("policies", "namespaces", "pods", "services", "endpoints"), everywhere, strict=True)))


@contextlib.contextmanager
def enforced(kubectl: Kubectl, pod: Object, *, sandbox: Process) -> Iterator[None]:
    """The policies over *pod*, whose network namespace *sandbox* holds. Raises ``AssertionError`` where none is."""
    table = restore(pod, observe(kubectl))
    assert table, f"no NetworkPolicy is over {pod['metadata']['name']}"
    done = subprocess.run(
        within(sandbox, "iptables-restore", "-w", "--noflush"),
        input=table,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + table
    try:
        yield
    finally:
        for chain in ("OUTPUT", "INPUT"):
            # where the pod is gone its namespace is, and the rules with it
            if sandbox.alive and f":POLICY-{chain} " in table:
                for words in (
                    ("-D", chain, "-j", f"POLICY-{chain}"),
                    ("-F", f"POLICY-{chain}"),
                    ("-X", f"POLICY-{chain}"),
                ):
                    subprocess.run(within(sandbox, "iptables", "-w", *words), check=True, timeout=_SECONDS)
