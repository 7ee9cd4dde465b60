"""What is applied to a cluster for one gateway."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import ANNOTATION, Claim, Generation, from_annotation, to_annotation
from gateway_operator.api.parse import parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.planning.difference import new_generation
from gateway_operator.resources.configmaps import forward_config_map, record_config_map, runtime_config
from gateway_operator.resources.naming import gateway_labels
from gateway_operator.resources.pulling import pull_pod, pull_pod_name
from gateway_operator.resources.secrets import auth_secret
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.resources.shared import shared_manifests
from gateway_operator.resources.statefulset import generation_manifests

from shard_runtime.contract import (
    ForwardConfig,
    Honoured,
    Predecessor,
    Record,
    RuntimeConfig,
    ShardLayout,
    decode,
)
from shard_runtime.environment import read_environment

AUTHORITY = (Path(__file__).parent.parent / "connection" / "certificates" / "authority.pem").read_text()
OWNER = Metadata(name="my-bot", namespace="bots", uid="1234", generation=3)
SETTINGS = RuntimeSettings(image="registry/gateway:1", operator_url="http://operator.system.svc:8080")
LAYOUT = ShardLayout(count=16, first=0, last=15, per_worker=4, workers_per_pod=2)
GENERATION = Generation(
    number=2,
    epoch=2,
    layout=LAYOUT,
    predecessor=Predecessor(generation=1, layout=ShardLayout(count=8, first=0, last=7)),
    wishes=Honoured(count=16, identify_hash="i", layout_hash="l"),
    intents=513,
    compression="none",
)


TEMPLATE: dict[str, Any] = {
    "image": "mine:2",
    "imagePullPolicy": "Never",
    "imagePullSecrets": [{"name": "pull"}],
    "resources": {"limits": {"cpu": 2}},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 5}],
    "affinity": {"podAntiAffinity": {"x": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "labels": {"team": "x", "discordgateway.dev/gateway": "other"},
    "annotations": {"note": "y"},
    "env": [{"name": "A", "value": "1"}],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/mine"}],
    "serviceAccountName": "puller",
    "runtimeClassName": "gvisor",
    "priorityClassName": "high",
    "terminationGracePeriodSeconds": 5,
}
"""Everything that a person may set of a pod."""


def spec(**more: Any) -> Spec:
    manifest = {
        "apiVersion": "discordgateway.dev/v1alpha1",
        "kind": "DiscordGateway",
        "metadata": {"name": "my-bot"},
        "spec": {
            "tokenSecretRef": {"name": "bot-token", "key": "TOKEN"},
            "intents": ["GUILDS"],
            "forward": {"url": "http://bot/"},
            **more,
        },
    }
    return parse_gateway(manifest).spec


def built(wanted: Spec | None = None, settings: RuntimeSettings = SETTINGS) -> tuple[dict[str, Any], dict[str, Any]]:
    config, statefulset = generation_manifests(OWNER, wanted or spec(), GENERATION, settings)
    return config, statefulset


def revision(wanted: Spec) -> str:
    return str(built(wanted)[1]["metadata"]["annotations"]["discordgateway.dev/revision"])


def test_the_statefulset_of_a_generation() -> None:
    config, statefulset = built()
    assert statefulset["metadata"]["name"] == "my-bot-g2"
    body = statefulset["spec"]
    assert (body["replicas"], body["serviceName"]) == (2, "my-bot-pods")
    assert (body["podManagementPolicy"], body["updateStrategy"]) == ("Parallel", {"type": "OnDelete"})
    selector = {"discordgateway.dev/gateway": "my-bot", "discordgateway.dev/generation": "2"}
    assert body["selector"]["matchLabels"] == selector
    assert selector.items() <= body["template"]["metadata"]["labels"].items()
    assert from_annotation(statefulset["metadata"]["annotations"][ANNOTATION]) == GENERATION
    volumes = {volume["name"]: volume for volume in body["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    assert volumes["record"]["configMap"] == {"name": "my-bot-active", "optional": True}
    assert volumes["forward"]["configMap"] == {"name": "my-bot-forward"}
    assert volumes["token"]["secret"]["secretName"] == "bot-token"
    assert volumes["token"]["secret"]["items"] == [{"key": "TOKEN", "path": "token"}]
    assert volumes["auth"]["secret"]["secretName"] == "my-bot-auth"
    assert volumes["state"] == {"name": "state", "emptyDir": {}}


def test_the_signing_secret_is_mounted_where_there_is_one() -> None:
    signed = spec(forward={"url": "http://bot/", "signingSecretRef": {"name": "bot-signing", "key": "current"}})
    pod = built(signed)[1]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["signing"]["secret"] == {
        "secretName": "bot-signing",
        "items": [{"key": "current", "path": "secret"}],
        "defaultMode": 0o440,
    }
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["signing"] == {
        "name": "signing",
        "mountPath": "/etc/discord-gateway/signing",
        "readOnly": True,
    }
    plain = built()[1]["spec"]["template"]["spec"]
    assert "signing" not in {volume["name"] for volume in plain["volumes"]}
    assert revision(signed) != revision(spec())


def test_a_generation_with_storage_has_a_volume_for_each_pod_and_keeps_it() -> None:
    kept = msgspec.structs.replace(GENERATION, storage=Claim(size="5Gi", storage_class_name="fast"))
    _, statefulset = generation_manifests(OWNER, spec(), kept, SETTINGS)
    body = statefulset["spec"]
    assert body["volumeClaimTemplates"] == [
        {
            "metadata": {"name": "state"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "5Gi"}},
                "storageClassName": "fast",
            },
        }
    ]
    assert body["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Retain"}
    pod = body["template"]["spec"]
    assert "state" not in {volume["name"] for volume in pod["volumes"]}, "the StatefulSet adds it"
    assert "/var/lib/discord-gateway" in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    _, other = generation_manifests(OWNER, spec(storage={"size": "9Gi"}), kept, SETTINGS)
    assert other["spec"] == body, "a StatefulSet cannot change its claims: another storage is another generation"
    plain = built()[1]["spec"]
    assert "volumeClaimTemplates" not in plain and "persistentVolumeClaimRetentionPolicy" not in plain


def test_pods_are_restricted_and_hold_no_credentials_for_kubernetes() -> None:
    pod = built()[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/discord-gateway", "/tmp"}
    assert pod["terminationGracePeriodSeconds"] == 60


def test_a_pod_learns_its_index_and_uid_and_only_a_hanging_one_is_restarted() -> None:
    (container,) = built()[1]["spec"]["template"]["spec"]["containers"]
    fields = {variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"] for variable in container["env"]}
    assert fields == {
        "POD_INDEX": "metadata.labels['apps.kubernetes.io/pod-index']",
        "POD_UID": "metadata.uid",
    }
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    # Shards may wait for identify permits for hours; nothing that kills the pod may depend on them.
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


@pytest.mark.parametrize(
    ("period", "drains"),
    [(1, 0), (8, 0), (9, 1), (32, 24), (33, 25), (60, 25), (61, 53), (3600, 3592)],
)
def test_a_pod_drains_as_long_as_its_grace_period_leaves_room(period: int, drains: int) -> None:
    wanted = spec(template={"terminationGracePeriodSeconds": period})
    (container,) = built(wanted)[1]["spec"]["template"]["spec"]["containers"]
    fields = {variable["name"]: variable.get("value", "0") for variable in container["env"]}
    variables = {"POD_INDEX": fields["POD_INDEX"], "POD_UID": "uid", **fields}
    assert read_environment(variables).grace_seconds == drains
    if period == 60:
        assert "DISCORD_GATEWAY_GRACE_SECONDS" not in fields, "the template of untouched gateways stays"


def test_the_config_is_immutable_and_named_by_its_content() -> None:
    config, _ = built()
    assert config["immutable"] is True
    assert config["metadata"]["labels"]["discordgateway.dev/generation"] == "2"
    read = decode(config["data"]["config.json"], RuntimeConfig)
    assert (read.namespace, read.gateway, read.generation, read.layout) == ("bots", "my-bot", 2, LAYOUT)
    assert (read.intents, read.compression) == (513, "none"), "of the generation, not of the spec"
    assert read.predecessor == GENERATION.predecessor
    assert read.pod_url == "http://my-bot-g{generation}-{pod}.my-bot-pods.bots.svc:8080"
    assert read.operator_url == SETTINGS.operator_url
    other, _ = built(spec(apiURL="http://proxy"))
    assert other["metadata"]["name"] != config["metadata"]["name"]


def test_a_local_cluster_says_itself_where_pods_answer() -> None:
    settings = RuntimeSettings(image="i", operator_url="http://127.0.0.1:1", pod_url="file:/x/pods.json")
    assert runtime_config(OWNER, spec(), GENERATION, settings).pod_url == "file:/x/pods.json"


def test_presence_goes_into_identify_as_it_was_written() -> None:
    presence = {"status": "idle", "activities": [{"name": "ж", "type": 0}], "since": None, "afk": False}
    config, _ = built(spec(identify={"presence": presence}))
    assert json.loads(config["data"]["config.json"])["identify"]["presence"] == presence


def test_the_template_reaches_the_pods() -> None:
    wanted = spec(template=TEMPLATE)
    template = built(wanted)[1]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("mine:2", "Never")
    assert container["resources"] == {"requests": {}, "limits": {"cpu": 2}}
    assert {"name": "A", "value": "1"} in container["env"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"a": "b"}
    assert pod["tolerations"] == [{"key": "k", "operator": "Exists", "tolerationSeconds": 5}]
    assert pod["affinity"] == {"podAntiAffinity": {"x": []}}
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["discordgateway.dev/generation"] == "2"
    assert container["envFrom"] == [{"secretRef": {"name": "more"}}]
    assert pod["volumes"][-1] == {"name": "ca", "configMap": {"name": "ca"}}
    assert container["volumeMounts"][-1] == {"name": "ca", "mountPath": "/etc/ssl/mine", "readOnly": True}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("puller", False)
    assert pod["runtimeClassName"] == "gvisor"
    assert (pod["priorityClassName"], pod["terminationGracePeriodSeconds"]) == ("high", 5)
    assert template["metadata"]["annotations"]["note"] == "y"
    assert template["metadata"]["labels"]["team"] == "x"
    assert template["metadata"]["labels"]["discordgateway.dev/gateway"] == "my-bot", "ours win"


def test_how_events_are_delivered_is_outside_the_pod_template() -> None:
    before = revision(spec())
    assert revision(spec(forward={"url": "http://other/", "lanes": 8})) == before
    assert revision(spec(reshard={"requestID": "x"}, paused=True)) == before
    assert revision(spec(template={"image": "other"})) != before
    assert revision(spec(apiURL="http://proxy")) != before
    assert revision(spec(identify={"presence": {"status": "idle"}})) == before, "a pod that resumes has no use for it"


def test_pods_carry_the_revision_that_they_were_made_of() -> None:
    statefulset = built()[1]
    annotations = statefulset["spec"]["template"]["metadata"]["annotations"]
    assert annotations["discordgateway.dev/revision"] == revision(spec())


def test_a_generation_that_is_read_back_makes_the_same_pods() -> None:
    """A number that is written one way when a generation begins and another way after would replace every pod."""
    wanted = spec()
    begun = new_generation(wanted, number=1, count=8, reason="FirstGeneration")
    first = generation_manifests(OWNER, wanted, begun, SETTINGS)
    again = generation_manifests(OWNER, wanted, from_annotation(to_annotation(begun)), SETTINGS)
    assert again == first


def test_the_revision_is_pinned() -> None:
    """A new version of the operator must not change the pods of gateways that nobody touched.

    If this fails, running gateways will be rolled after an upgrade: say so in the changelog, or undo the change.
    """
    assert revision(spec()) == "661cfb2b3f"
    everything = spec(
        template=TEMPLATE,
        apiURL="http://proxy/api/v10",
        gatewayURL="ws://proxy/",
        forward={"url": "http://bot/", "signingSecretRef": {"name": "bot-signing", "key": "current"}},
        storage={"size": "5Gi"},
        handlers={"configMapRef": {"name": "handlers", "key": "handlers.py"}},
    )
    kept = msgspec.structs.replace(GENERATION, storage=Claim(size="5Gi", storage_class_name="fast"))
    _, statefulset = generation_manifests(OWNER, everything, kept, SETTINGS)
    assert statefulset["metadata"]["annotations"]["discordgateway.dev/revision"] == "407b473e3b"


@pytest.mark.parametrize(
    "manifest",
    [*generation_manifests(OWNER, spec(), GENERATION, SETTINGS), *shared_manifests(OWNER, spec(), SETTINGS)],
    ids=lambda manifest: manifest["metadata"]["name"],
)
def test_everything_is_owned_by_the_gateway(manifest: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    assert metadata["namespace"] == "bots"
    assert metadata["labels"]["discordgateway.dev/gateway"] == "my-bot"
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "discordgateway.dev/v1alpha1",
            "kind": "DiscordGateway",
            "name": "my-bot",
            "uid": "1234",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_services() -> None:
    shared = shared_manifests(OWNER, spec(), SETTINGS)
    services = {m["metadata"]["name"]: m["spec"] for m in shared if m["kind"] == "Service"}
    assert set(services) == {"my-bot", "my-bot-pods"}
    pods = services["my-bot-pods"]
    assert (pods["clusterIP"], pods["publishNotReadyAddresses"]) == ("None", True)
    for service in services.values():
        assert service["selector"] == {"discordgateway.dev/gateway": "my-bot"}
        assert service["ports"] == [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]


def test_a_drain_takes_pods_one_by_one_and_is_not_held_up_by_those_that_are_not_ready() -> None:
    (budget,) = [m for m in shared_manifests(OWNER, spec(), SETTINGS) if m["kind"] == "PodDisruptionBudget"]
    assert budget["metadata"]["name"] == "my-bot"
    assert budget["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {"discordgateway.dev/gateway": "my-bot"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def test_pods_are_spread_over_zones_and_nodes_where_nothing_else_is_said() -> None:
    spread = built()[1]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [constraint["topologyKey"] for constraint in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    for constraint in spread:
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway", "better together than not at all"
        assert constraint["labelSelector"]["matchLabels"]["discordgateway.dev/generation"] == "2"


def test_the_forward_config() -> None:
    manifest = forward_config_map(
        OWNER, spec(forward={"url": "http://bot/", "timeoutSeconds": 3, "events": {"exclude": ["TYPING_START"]}})
    )
    assert manifest["metadata"]["name"] == "my-bot-forward"
    assert "immutable" not in manifest
    read = decode(manifest["data"]["forward.json"], ForwardConfig)
    assert (read.url, read.timeout_seconds, read.events.exclude) == ("http://bot/", 3, ["TYPING_START"])
    assert read.queue.max_events == 1_000_000
    assert read.ca_bundle is None


def test_whom_to_trust_reaches_running_pods_with_the_rest_of_forward() -> None:
    trusting = spec(forward={"url": "https://bot/", "caBundle": AUTHORITY})
    assert decode(forward_config_map(OWNER, trusting)["data"]["forward.json"], ForwardConfig).ca_bundle == AUTHORITY
    assert revision(trusting) == revision(spec()), "no pod is replaced for it"


def test_the_record_replaces_exactly_what_was_read() -> None:
    record = Record(epoch=3, active=2, target=None, honoured=GENERATION.wishes)
    created = record_config_map(OWNER, record, resource_version=None)
    assert "resourceVersion" not in created["metadata"]
    replaced = record_config_map(OWNER, record, resource_version="77")
    assert replaced["metadata"]["resourceVersion"] == "77"
    assert replaced["metadata"]["name"] == "my-bot-active"
    assert decode(replaced["data"]["record.json"], Record) == record
    assert set(json.loads(replaced["data"]["record.json"])["honoured"]) == {
        "count",
        "requestID",
        "identifyHash",
        "layoutHash",
    }


def test_the_tokens_of_a_gateway() -> None:
    secret = auth_secret(OWNER, operator="o", bot="b")
    assert secret["metadata"]["name"] == "my-bot-auth"
    assert secret["stringData"] == {"operator": "o", "bot": "b"}


def selectors(manifest: Any) -> list[dict[str, str]]:
    """What *manifest* selects pods by, wherever it does so."""
    if isinstance(manifest, list):
        return [found for each in manifest for found in selectors(each)]
    if not isinstance(manifest, dict):
        return []
    found = [each for value in manifest.values() for each in selectors(value)]
    if "matchLabels" in manifest:
        found.append(manifest["matchLabels"])
    if manifest.get("kind") == "Service":
        found.append(manifest["spec"]["selector"])
    return found


def test_a_pod_that_pulls_an_image_is_found_by_nothing_that_looks_for_the_gateways_pods() -> None:
    wanted = spec()
    settings = dataclasses.replace(SETTINGS, network_policies=True)
    made = [
        *generation_manifests(OWNER, wanted, GENERATION, settings),
        *shared_manifests(OWNER, wanted, settings),
    ]
    looking = selectors(made)
    assert len(looking) >= 5
    labels = pull_pod(OWNER, wanted, node="n1", image="x:2")["metadata"]["labels"]
    assert not [each for each in looking if each.items() <= labels.items()]
    assert labels["app.kubernetes.io/name"] != gateway_labels("my-bot")["app.kubernetes.io/name"], "the PodMonitor's"


def test_a_pod_that_pulls_an_image_is_bound_to_its_node_and_runs_nothing() -> None:
    template = {
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "puller",
        "runtimeClassName": "small",
        "image": "x:3",
    }
    made = pull_pod(OWNER, spec(template=template), node="n1", image="x:2")
    pod = made["spec"]
    (container,) = pod.pop("containers")
    assert pod == {
        "nodeName": "n1",
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": "puller",
        "runtimeClassName": "small",
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert container == {
        "name": "pull",
        "image": "x:2",
        "imagePullPolicy": "Always",
        "command": ["python", "-S", "-c", ""],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DiscordGateway", "1234", True)
    plain = pull_pod(OWNER, spec(), node="n1", image="x:2")["spec"]
    assert "imagePullPolicy" not in plain["containers"][0]
    assert not {"serviceAccountName", "runtimeClassName", "imagePullSecrets"} & set(plain)


def test_pods_that_pull_have_a_name_for_each_node_and_image() -> None:
    pairs = [("n1", "x:1"), ("n1", "x:2"), ("n2", "x:1"), ("n", "1x:1")]
    names = {pull_pod_name("g" * 40, node=node, image=image) for node, image in pairs}
    assert len(names) == len(pairs)
    assert max(map(len, names)) <= 63
