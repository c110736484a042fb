"""Stock kubectl against the api-server, on stock etcd and on our store."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.component.apiserver_harness import STORES, Cluster, cluster, deployment, pod
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module", params=STORES)
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Pki
) -> Iterator[Cluster]:
    with cluster(request.param, tmp_path_factory.mktemp(request.param), pki) as running:
        yield running


def test_what_every_cluster_has_is_there(lab: Cluster) -> None:
    namespaces = lab.kubectl("get", "namespaces", "-o", "name").stdout.split()
    assert {f"namespace/{n}" for n in ("default", "kube-system", "kube-node-lease")} <= set(
        namespaces
    )
    service = lab.get("service", "kubernetes")
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    slices = lab.get("endpointslices", "-l", "kubernetes.io/service-name=kubernetes")["items"]
    assert slices[0]["endpoints"][0]["addresses"] == ["127.0.0.1"]


def test_version_and_discovery(lab: Cluster) -> None:
    assert "v1.37" in lab.kubectl("version").stdout
    listed = lab.kubectl("api-resources", "--no-headers").stdout
    for row in ("pods", "deployments", "leases", "endpointslices"):
        assert f"\n{row} " in f"\n{listed}", row


def test_what_kubectl_makes_itself_comes_as_protobuf(lab: Cluster) -> None:
    lab.kubectl("create", "configmap", "made", "--from-literal=a=1", "--from-literal=b=")
    assert lab.get("configmap", "made")["data"] == {"a": "1", "b": ""}
    lab.kubectl("create", "secret", "generic", "key", "--from-literal=p=w")
    assert lab.get("secret", "key")["data"] == {"p": "dw=="}
    lab.kubectl("create", "deployment", "quick", "--image=nginx:1", "--replicas=0")
    spec = lab.get("deployment", "quick")["spec"]
    assert spec["replicas"] == 0
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    lab.kubectl("expose", "deployment", "quick", "--port=80", "--target-port=8080")
    assert lab.get("service", "quick")["spec"]["ports"][0]["targetPort"] == 8080
    for what in ("configmap/made", "secret/key", "deployment/quick", "service/quick"):
        lab.kubectl("delete", what)


def test_apply_is_idempotent_and_keeps_what_others_set(lab: Cluster) -> None:
    assert lab.apply(deployment("web")) == "deployment.apps/web created\n"
    assert lab.apply(deployment("web")) == "deployment.apps/web unchanged\n"
    lab.kubectl("scale", "deployment", "web", "--replicas=5")
    changed = deployment("web", replicas=5)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "busybox:2"
    assert lab.apply(changed) == "deployment.apps/web configured\n"
    found = lab.get("deployment", "web")
    assert found["metadata"]["generation"] == 3  # scaled, then the image
    kept = found["spec"]["template"]["spec"]["containers"][0]
    assert kept["image"] == "busybox:2"
    assert kept["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    lab.kubectl("delete", "deployment", "web")


def test_server_side_apply_shares_an_object_between_managers(lab: Cluster) -> None:
    def apply(manager: str, data: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "shared"},
            "data": data,
        }
        return lab.kubectl(
            "apply", "--server-side", f"--field-manager={manager}", *flags, "-f", "-",
            stdin=json.dumps(body), check=False,
        )  # fmt: skip

    assert apply("one", {"a": "1", "b": "1"}).returncode == 0
    assert apply("two", {"c": "1"}).returncode == 0
    clash = apply("two", {"a": "2", "c": "1"})
    assert 'conflict with "one"' in clash.stderr
    assert apply("two", {"a": "2", "c": "1"}, "--force-conflicts").returncode == 0
    assert apply("one", {}).returncode == 0  # gives up b; a is two's by now
    assert lab.get("configmap", "shared")["data"] == {"a": "2", "c": "1"}


def test_label_annotate_patch_and_edit(lab: Cluster) -> None:
    lab.kubectl("create", "configmap", "marked")
    lab.kubectl("label", "configmap", "marked", "tier=a", "old=x")
    lab.kubectl("label", "configmap", "marked", "old-")
    lab.kubectl("annotate", "configmap", "marked", "note=hello")
    lab.kubectl("patch", "configmap", "marked", "-p", '{"data":{"k":"v"}}')
    lab.kubectl(
        "patch", "configmap", "marked", "--type=json",
        "-p", '[{"op":"replace","path":"/data/k","value":"w"}]',
    )  # fmt: skip
    editor = lab.directory / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i "s/k: w/k: edited/" "$1"\n')
    editor.chmod(0o755)
    command = lab.kubectl_command("edit", "configmap", "marked")
    environment = {**lab.environment(), "KUBE_EDITOR": str(editor)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    found = lab.get("configmap", "marked")
    assert found["metadata"]["labels"] == {"tier": "a"}
    assert found["metadata"]["annotations"] == {"note": "hello"}
    assert found["data"] == {"k": "edited"}
    assert lab.kubectl("get", "cm", "-l", "tier=a", "-o", "name").stdout == "configmap/marked\n"
    assert not lab.kubectl("get", "cm", "-l", "tier!=a,tier", "-o", "name").stdout


def test_tables_show_upstreams_columns(lab: Cluster) -> None:
    lab.apply(pod("shown"))
    header, row = lab.kubectl("get", "pod", "shown", "-o", "wide").stdout.splitlines()
    assert header.split() == (
        [
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "NODE",
            "NOMINATED",
            "NODE",
            "READINESS",
            "GATES",
        ]
    )
    assert row.split()[:4] == ["shown", "0/1", "Pending", "0"]
    assert lab.kubectl("describe", "pod", "shown").stdout.startswith("Name:             shown")
    lab.kubectl("delete", "pod", "shown")


def test_a_bound_pod_dies_gracefully_and_an_unbound_one_at_once(lab: Cluster) -> None:
    lab.apply(pod("free"), pod("bound", nodeName="w1", terminationGracePeriodSeconds=7))
    lab.kubectl("delete", "pod", "free", "--wait=false")
    assert "not found" in lab.kubectl("get", "pod", "free", check=False).stderr
    lab.kubectl("delete", "pod", "bound", "--wait=false")
    meta = lab.get("pod", "bound")["metadata"]
    assert meta["deletionTimestamp"]
    assert meta["deletionGracePeriodSeconds"] == 7
    assert lab.kubectl("get", "pod", "bound", "--no-headers").stdout.split()[2] == "Terminating"
    lab.kubectl("delete", "pod", "bound", "--grace-period=0", "--force")
    assert "not found" in lab.kubectl("get", "pod", "bound", check=False).stderr


def test_wait_is_served_by_watches(lab: Cluster) -> None:
    lab.apply(deployment("slow"))
    command = lab.kubectl_command(
        "wait", "deployment/slow", "--for=jsonpath={.spec.replicas}=4", "--timeout=50s"
    )
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=lab.environment())
    lab.kubectl("scale", "deployment", "slow", "--replicas=4")
    assert waiting.communicate(timeout=60)[0] == "deployment.apps/slow condition met\n"
    gone = subprocess.Popen(
        lab.kubectl_command("wait", "deployment/slow", "--for=delete", "--timeout=50s"),
        env=lab.environment(),
    )
    lab.kubectl("delete", "deployment", "slow")
    assert gone.wait(timeout=60) == 0


def test_rollout_status_follows_the_status(lab: Cluster) -> None:
    lab.apply(deployment("rolled", replicas=1))
    generation = lab.get("deployment", "rolled")["metadata"]["generation"]
    status = {
        "observedGeneration": generation,
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
        "readyReplicas": 1,
    }
    lab.kubectl(
        "patch", "deployment", "rolled", "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": status, "spec": {"replicas": 9}}),
    )  # fmt: skip
    assert "successfully rolled out" in lab.kubectl("rollout", "status", "deploy/rolled").stdout
    assert lab.get("deployment", "rolled")["spec"]["replicas"] == 1
    lab.kubectl("delete", "deployment", "rolled")


def test_cordon_and_drain_evict(lab: Cluster) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w7"}}
    lab.apply(node, pod("victim", nodeName="w7", terminationGracePeriodSeconds=0))
    lab.kubectl("drain", "w7", "--force", "--timeout=50s")
    assert lab.get("node", "w7")["spec"]["unschedulable"] is True
    assert "not found" in lab.kubectl("get", "pod", "victim", check=False).stderr
    row = lab.kubectl("get", "node", "w7", "--no-headers").stdout.split()
    assert row[1] == "Unknown,SchedulingDisabled"
    lab.kubectl("uncordon", "w7")
    assert "unschedulable" not in lab.get("node", "w7")["spec"]
    lab.kubectl("delete", "node", "w7")


def test_errors_read_as_upstreams(lab: Cluster) -> None:
    assert lab.kubectl("get", "pod", "nope", check=False).stderr == (
        'Error from server (NotFound): pods "nope" not found\n'
    )
    empty = {**pod("empty"), "spec": {"containers": []}}
    told = lab.kubectl("create", "-f", "-", stdin=json.dumps(empty), check=False).stderr
    assert 'Pod "empty" is invalid: spec.containers: Required value' in told
    told = lab.kubectl("delete", "namespace", "default", check=False).stderr
    assert told == (
        'Error from server (Forbidden): namespaces "default" is forbidden: '
        "this namespace may not be deleted\n"
    )
    typo = {**deployment("typo")}
    typo["spec"]["replicaz"] = 3
    told = lab.kubectl("create", "-f", "-", stdin=json.dumps(typo), check=False).stderr
    assert 'strict decoding error: unknown field "spec.replicaz"' in told
    told = lab.kubectl("create", "configmap", "x", "-n", "nowhere", check=False).stderr
    assert 'namespaces "nowhere" not found' in told
    wrong = {**deployment("wrong")}
    wrong["spec"]["replicas"] = "three"
    told = lab.kubectl("create", "-f", "-", stdin=json.dumps(wrong), check=False).stderr
    assert "cannot be handled as a Deployment" in told
    assert "$.spec.replicas" in told
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}}
    big["data"] = {"k": "x" * (2 * 1024 * 1024)}
    told = lab.kubectl("create", "-f", "-", stdin=json.dumps(big), check=False).stderr
    assert "too large" in told


def test_selectors_of_deployments_and_cluster_ips_do_not_change(lab: Cluster) -> None:
    lab.apply(deployment("fixed"))
    labels = {"app": "other"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    patch = json.dumps({"spec": spec})
    told = lab.kubectl("patch", "deployment", "fixed", "-p", patch, check=False).stderr
    assert "spec.selector: Invalid value" in told
    assert "field is immutable" in told
    lab.kubectl("delete", "deployment", "fixed")


def test_node_ports_belong_to_one_service(lab: Cluster) -> None:
    def service(name: str) -> str:
        port = {"port": 80, "nodePort": 30500}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [port]},
            }
        )

    lab.kubectl("create", "-f", "-", stdin=service("first"))
    told = lab.kubectl("create", "-f", "-", stdin=service("second"), check=False).stderr
    assert (
        "spec.ports[0].nodePort: Invalid value: 30500: provided port is already allocated" in told
    )
    lab.kubectl("delete", "service", "first")
    lab.kubectl("create", "-f", "-", stdin=service("second"))
    lab.kubectl("delete", "service", "second")


def test_dry_run_writes_nothing(lab: Cluster) -> None:
    lab.kubectl("create", "configmap", "dry", "--dry-run=server")
    assert "not found" in lab.kubectl("get", "configmap", "dry", check=False).stderr
    different = deployment("dry")
    assert "dry" in lab.kubectl("diff", "-f", "-", stdin=json.dumps(different), check=False).stdout


def test_chunked_lists_are_consistent(lab: Cluster) -> None:
    objects = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"n{i}", "namespace": "kube-public"},
        }
        for i in range(7)
    ]
    lab.apply(*objects)
    names = lab.kubectl("get", "cm", "-n", "kube-public", "--chunk-size=3", "-o", "name").stdout
    assert names.split() == [f"configmap/n{i}" for i in range(7)]


def test_users_may_do_what_their_role_says(lab: Cluster) -> None:
    scheduler = ("system:kube-scheduler",)
    assert lab.kubectl("auth", "can-i", "list", "pods", user=scheduler).stdout == "yes\n"
    told = lab.kubectl("get", "secrets", user=scheduler, check=False).stderr
    assert told == (
        'Error from server (Forbidden): secrets is forbidden: User "system:kube-scheduler" cannot '
        'list resource "secrets" in API group "" in the namespace "default"\n'
    )
    nobody = ("somebody",)
    assert "Forbidden" in lab.kubectl("get", "pods", user=nobody, check=False).stderr
    node = ("system:node:w3", "system:nodes")
    assert "forbidden" in lab.kubectl("delete", "node", "w4", user=node, check=False).stderr
    assert "forbidden" in lab.kubectl("get", "secret", "x", user=node, check=False).stderr
    lab.kubectl("create", "secret", "generic", "mounted", "--from-literal=a=b")
    volumes = [{"name": "s", "secret": {"secretName": "mounted"}}]
    lab.apply(pod("reader", nodeName="w3", volumes=volumes))
    assert lab.kubectl("get", "secret", "mounted", user=node).returncode == 0
    other = ("system:node:w5", "system:nodes")
    assert "forbidden" in lab.kubectl("get", "secret", "mounted", user=other, check=False).stderr


def test_deleting_a_namespace_waits_for_its_finalizer(lab: Cluster) -> None:
    lab.kubectl("create", "namespace", "going")
    lab.kubectl("delete", "namespace", "going", "--wait=false")
    assert lab.get("namespace", "going")["status"]["phase"] == "Terminating"
    told = lab.kubectl("create", "configmap", "late", "-n", "going", check=False).stderr
    assert "because it is being terminated" in told
    finalized = lab.get("namespace", "going")
    finalized["spec"]["finalizers"] = []
    lab.kubectl(
        "replace", "--raw", "/api/v1/namespaces/going/finalize", "-f", "-",
        stdin=json.dumps(finalized),
    )  # fmt: skip
    gone = lab.kubectl("get", "namespace", "going", check=False)
    assert "not found" in gone.stderr


def test_metrics_have_upstreams_names(lab: Cluster) -> None:
    text = lab.kubectl("get", "--raw", "/metrics").stdout
    wait_until(lambda: "apiserver_request_total{" in text, 60, "request counter")
    for series in (
        'apiserver_request_sli_duration_seconds_bucket{component="apiserver"',
        'le="30.0"',
        "apiserver_current_inflight_requests{",
        "kubernetes_build_info{",
    ):
        assert series in text, series


def test_a_namespaces_limits_and_classes_hold_for_its_pods(lab: Cluster) -> None:
    lab.kubectl("create", "namespace", "small")
    limit = {"type": "Container", "max": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}
    meta = {"name": "small", "namespace": "small"}
    lab.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta,
               "spec": {"limits": [limit]}})  # fmt: skip
    run = ("run", "p", "-n", "small", "--image=busybox:1")
    lab.kubectl(*run)
    found = lab.get("pod", "p", "-n", "small")
    container = found["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}
    assert found["metadata"]["annotations"]["kubernetes.io/limit-ranger"].startswith("LimitRanger")
    assert (found["spec"]["priority"], found["status"]["qosClass"]) == (0, "Burstable")
    lab.kubectl("create", "priorityclass", "high", "--value=1000")
    run = ("run", "q", "-n", "small", "--image=busybox:1", "--overrides")
    lab.kubectl(*run, '{"spec": {"priorityClassName": "high"}}')
    assert lab.get("pod", "q", "-n", "small")["spec"]["priority"] == 1000
    refused = lab.kubectl(*run, '{"spec": {"priorityClassName": "no"}}', check=False)
    assert "no PriorityClass with name no was found" in refused.stderr
    large = {"name": "q", "image": "i:1", "resources": {"limits": {"cpu": "2"}}}
    refused = lab.kubectl(*run, json.dumps({"spec": {"containers": [large]}}), check=False)
    assert "maximum cpu usage per Container is 1, but limit is 2" in refused.stderr
    lab.kubectl("delete", "pods", "--all", "-n", "small", "--force")
