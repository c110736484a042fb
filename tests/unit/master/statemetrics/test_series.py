"""What objects say as series, beside what kube-state-metrics says of the same objects.

The expected lines are upstream's by name, labels and value.
"""

from __future__ import annotations

import shutil
import subprocess
from json import dumps
from typing import Any

import pytest

from kube.api.rbac import ClusterRole
from kube.machinery.scheme import decode, resource_for
from master.apiserver.authz.policy import bootstrap_policy
from master.apiserver.authz.rules import Attributes, allows
from master.statemetrics.choice import Choice, keys_by_resource
from master.statemetrics.family import Family, StateKind
from master.statemetrics.kinds import KINDS
from master.statemetrics.series import Series

BY_RESOURCE = {kind.resource: kind for kind in KINDS}
POD = {
    "metadata": {
        "name": "web", "namespace": "shop", "uid": "u1",
        "creationTimestamp": "2017-07-14T02:40:00Z", "labels": {"app": "web", "x/y-z": 'a"b'},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": True}],
    },
    "spec": {
        "nodeName": "w1", "hostNetwork": True, "priorityClassName": "high",
        "restartPolicy": "Always", "serviceAccountName": "default",
        "containers": [
            {"name": "c", "image": "hello:1",
             "resources": {"requests": {"cpu": "200m", "memory": "100M", "example.com/gpu": 1},
                           "limits": {"memory": "64Mi"}}},
        ],
        "initContainers": [{"name": "i", "image": "init:1", "restartPolicy": "Always"}],
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute",
                         "tolerationSeconds": 3}],
    },
    "status": {
        "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.244.1.2", "qosClass": "Burstable",
        "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fc00::2"}],
        "startTime": "2017-07-14T02:40:05Z",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2017-07-14T02:40:09Z"},
            {"type": "PodScheduled", "status": "True",
             "lastTransitionTime": "2017-07-14T02:40:01Z"},
        ],
        "containerStatuses": [
            {"name": "c", "image": "hello:1", "imageID": "sha256:a", "containerID": "cri://1",
             "ready": True, "restartCount": 2,
             "state": {"running": {"startedAt": "2017-07-14T02:40:08Z"}},
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled",
                                          "finishedAt": "2017-07-14T02:40:07Z"}}},
        ],
        "initContainerStatuses": [
            {"name": "i", "image": "init:1", "imageID": "sha256:b", "containerID": "cri://2",
             "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        ],
    },
}  # fmt: skip


def object_of(resource: str, document: dict[str, Any]) -> Any:
    return decode(BY_RESOURCE[resource].type, dumps(document).encode())


def lines(resource: str, document: dict[str, Any], kind: StateKind[Any] | None = None) -> set[str]:
    series = Series(kind or BY_RESOURCE[resource])
    series.on_event("ADDED", None, object_of(resource, document))
    return {line for line in "".join(series.text()).splitlines() if not line.startswith("#")}


def of(name: str, found: set[str]) -> set[str]:
    return {line.removeprefix(name) for line in found if line.startswith(name + "{")}


def test_a_pod() -> None:
    found = lines("pods", POD)
    named = 'namespace="shop",pod="web",uid="u1"'
    assert of("kube_pod_info", found) == {
        f'{{{named},host_ip="10.0.0.1",pod_ip="10.244.1.2",node="w1",'
        'created_by_kind="ReplicaSet",created_by_name="web-1",priority_class="high",'
        'host_network="true"} 1'
    }
    assert of("kube_pod_owner", found) == {
        f'{{{named},owner_kind="ReplicaSet",owner_name="web-1",owner_is_controller="true"}} 1'
    }
    assert of("kube_pod_status_phase", found) == {
        f'{{{named},phase="{phase}"}} {int(phase == "Running")}'
        for phase in ("Pending", "Succeeded", "Failed", "Unknown", "Running")
    }
    assert of("kube_pod_status_ready", found) == {
        f'{{{named},condition="true"}} 1',
        f'{{{named},condition="false"}} 0',
        f'{{{named},condition="unknown"}} 0',
    }
    assert of("kube_pod_created", found) == {f"{{{named}}} 1500000000"}
    assert of("kube_pod_status_ready_time", found) == {f"{{{named}}} 1500000009"}
    assert of("kube_pod_ips", found) == {
        f'{{{named},ip="10.244.1.2",ip_family="4"}} 1',
        f'{{{named},ip="fc00::2",ip_family="6"}} 1',
    }
    assert of("kube_pod_tolerations", found) == {
        f'{{{named},key="k",operator="Exists",value="",effect="NoExecute",'
        'toleration_seconds="3"} 1'
    }


def test_a_pods_containers() -> None:
    found = lines("pods", POD)
    named = 'namespace="shop",pod="web",uid="u1",container="c"'
    assert of("kube_pod_container_resource_requests", found) == {
        f'{{{named},node="w1",resource="cpu",unit="core"}} 0.2',
        f'{{{named},node="w1",resource="memory",unit="byte"}} 100000000',
        f'{{{named},node="w1",resource="example_com_gpu",unit="integer"}} 1',
    }
    assert of("kube_pod_container_resource_limits", found) == {
        f'{{{named},node="w1",resource="memory",unit="byte"}} 67108864'
    }
    assert of("kube_pod_container_info", found) == {
        f'{{{named},image_spec="hello:1",image="hello:1",image_id="sha256:a",'
        'container_id="cri://1"} 1'
    }
    assert of("kube_pod_container_status_restarts_total", found) == {f"{{{named}}} 2"}
    assert of("kube_pod_container_status_running", found) == {f"{{{named}}} 1"}
    assert of("kube_pod_container_status_waiting", found) == {f"{{{named}}} 0"}
    assert of("kube_pod_container_status_waiting_reason", found) == set()
    assert of("kube_pod_container_status_last_terminated_reason", found) == {
        f'{{{named},reason="OOMKilled"}} 1'
    }
    assert of("kube_pod_container_status_last_terminated_exitcode", found) == {f"{{{named}}} 137"}
    init = 'namespace="shop",pod="web",uid="u1",container="i"'
    assert of("kube_pod_init_container_status_waiting_reason", found) == {
        f'{{{init},reason="ImagePullBackOff"}} 1'
    }
    assert of("kube_pod_init_container_info", found) == {
        f'{{{init},image_spec="init:1",image="init:1",image_id="sha256:b",container_id="cri://2",'
        'restart_policy="Always"} 1'
    }


def test_a_node() -> None:
    found = lines(
        "nodes",
        {
            "metadata": {"name": "m1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"podCIDR": "10.244.0.0/24", "unschedulable": True,
                     "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "capacity": {"cpu": "2", "memory": "2G", "ephemeral-storage": "4G", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "Unknown"}],
                "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian", "systemUUID": "s"},
                "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}],
            },
        },
    )  # fmt: skip
    assert of("kube_node_status_capacity", found) == {
        '{node="m1",resource="cpu",unit="core"} 2',
        '{node="m1",resource="memory",unit="byte"} 2000000000',
        '{node="m1",resource="ephemeral_storage",unit="byte"} 4000000000',
        '{node="m1",resource="pods",unit="integer"} 110',
    }
    assert of("kube_node_status_condition", found) == {
        '{node="m1",condition="Ready",status="true"} 0',
        '{node="m1",condition="Ready",status="false"} 0',
        '{node="m1",condition="Ready",status="unknown"} 1',
    }
    assert of("kube_node_spec_taint", found) == {
        '{node="m1",key="k",value="",effect="NoSchedule"} 1'
    }
    assert of("kube_node_role", found) == {'{node="m1",role="control-plane"} 1'}
    assert of("kube_node_spec_unschedulable", found) == {'{node="m1"} 1'}
    assert of("kube_node_info", found) == {
        '{node="m1",kernel_version="",os_image="Debian",container_runtime_version="",'
        'kubelet_version="v1",kubeproxy_version="deprecated",provider_id="",'
        'pod_cidr="10.244.0.0/24",system_uuid="s",internal_ip="1.2.3.4"} 1'
    }


def test_a_deployment_and_its_replicaset() -> None:
    named = 'namespace="ns",deployment="d"'
    found = lines(
        "deployments",
        {
            "metadata": {"name": "d", "namespace": "ns", "generation": 21},
            "spec": {"replicas": 10, "strategy": {
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 3}}},
            "status": {"replicas": 10, "updatedReplicas": 4, "observedGeneration": 20,
                       "conditions": [{"type": "Progressing", "status": "False", "reason": "Odd"}]},
        },
    )  # fmt: skip
    assert of("kube_deployment_spec_strategy_rollingupdate_max_surge", found) == {f"{{{named}}} 3"}
    assert of("kube_deployment_spec_strategy_rollingupdate_max_unavailable", found) == {
        f"{{{named}}} 3"
    }
    assert of("kube_deployment_status_replicas_available", found) == {f"{{{named}}} 0"}
    assert of("kube_deployment_metadata_generation", found) == {f"{{{named}}} 21"}
    assert of("kube_deployment_owner", found) == {f'{{{named},owner_kind="",owner_name=""}} 1'}
    assert of("kube_deployment_status_condition", found) == {
        f'{{{named},reason="unknown",condition="Progressing",status="{status}"}} '
        f"{int(status == 'false')}"
        for status in ("true", "false", "unknown")
    }
    found = lines(
        "replicasets",
        {"metadata": {"name": "r", "namespace": "ns"}, "spec": {"replicas": 4},
         "status": {"readyReplicas": 3}},
    )  # fmt: skip
    named = 'namespace="ns",replicaset="r"'
    assert of("kube_replicaset_spec_replicas", found) == {f"{{{named}}} 4"}
    assert of("kube_replicaset_status_ready_replicas", found) == {f"{{{named}}} 3"}
    assert of("kube_replicaset_owner", found) == {
        f'{{{named},owner_kind="",owner_name="",owner_is_controller=""}} 1'
    }


def test_a_service_and_its_slices() -> None:
    found = lines("services", {"metadata": {"name": "s", "namespace": "ns", "uid": "u"},
                               "spec": {"clusterIP": "10.96.0.7", "type": "NodePort"}})  # fmt: skip
    named = 'namespace="ns",service="s",uid="u"'
    assert of("kube_service_spec_type", found) == {f'{{{named},type="NodePort"}} 1'}
    assert of("kube_service_info", found) == {
        f'{{{named},cluster_ip="10.96.0.7",external_name="",external_traffic_policy="",'
        'load_balancer_ip=""} 1'
    }
    found = lines(
        "endpointslices",
        {"metadata": {"name": "e", "namespace": "ns"}, "addressType": "IPv4",
         "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
         "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True},
                        "nodeName": "w1", "targetRef": {"kind": "Pod", "name": "p"}}]},
    )  # fmt: skip
    named = 'namespace="ns",endpointslice="e"'
    assert of("kube_endpointslice_ports", found) == {
        f'{{{named},port_name="http",port_protocol="TCP",port_number="80"}} 1'
    }
    assert of("kube_endpointslice_endpoints", found) == {
        f'{{{named},address="10.0.0.1",ready="true",serving="",terminating="",hostname="",'
        'targetref_kind="Pod",targetref_name="p",targetref_namespace="",endpoint_nodename="w1",'
        'endpoint_zone=""} 1'
    }


def test_the_small_kinds() -> None:
    found = lines("namespaces", {"metadata": {"name": "n"}, "status": {"phase": "Terminating"}})
    assert of("kube_namespace_status_phase", found) == {
        '{namespace="n",phase="Active"} 0', '{namespace="n",phase="Terminating"} 1',
    }  # fmt: skip
    found = lines(
        "leases",
        {"metadata": {"name": "w1", "namespace": "kube-node-lease",
                      "ownerReferences": [{"kind": "Node", "name": "w1"}]},
         "spec": {"holderIdentity": "w1", "renewTime": "2017-07-14T02:40:00.500000Z"}},
    )  # fmt: skip
    named = 'namespace="kube-node-lease",lease="w1"'
    assert of("kube_lease_owner", found) == {
        f'{{{named},owner_kind="Node",owner_name="w1",lease_holder="w1"}} 1'
    }
    assert of("kube_lease_renew_time", found) == {f"{{{named}}} 1500000000.5"}
    found = lines("configmaps", {"metadata": {"name": "c", "namespace": "n",
                                              "resourceVersion": "7"}})  # fmt: skip
    named = 'namespace="n",configmap="c"'
    assert of("kube_configmap_metadata_resource_version", found) == {f"{{{named}}} 7"}


def test_workloads_that_are_no_deployments() -> None:
    meta = {"name": "x", "namespace": "n", "generation": 2}
    found = lines("daemonsets", {"metadata": meta, "status": {"desiredNumberScheduled": 3}})
    named = '{namespace="n",daemonset="x"}'
    assert of("kube_daemonset_status_desired_number_scheduled", found) == {f"{named} 3"}
    assert of("kube_daemonset_status_number_misscheduled", found) == {f"{named} 0"}
    found = lines(
        "statefulsets",
        {"metadata": meta, "spec": {"replicas": 2}, "status": {"updateRevision": "x-1"}},
    )
    assert of("kube_statefulset_status_update_revision", found) == {
        '{namespace="n",statefulset="x",revision="x-1"} 1'
    }
    assert of("kube_statefulset_status_current_revision", found) == set()
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    found = lines("jobs", {"metadata": meta, "status": {"failed": 4, "conditions": [failed]}})
    named = 'namespace="n",job_name="x"'
    assert of("kube_job_status_failed", found) == {
        f'{{{named},reason="{reason}"}} {int(reason == "DeadlineExceeded")}'
        for reason in ("BackoffLimitExceeded", "DeadlineExceeded", "Evicted")
    }
    assert of("kube_job_failed", found) == {
        f'{{{named},condition="{status}"}} {int(status == "true")}'
        for status in ("true", "false", "unknown")
    }
    assert of("kube_job_complete", found) == set()
    found = lines("cronjobs", {"metadata": meta, "spec": {"schedule": "* * * * *"}})
    assert of("kube_cronjob_info", found) == {
        '{namespace="n",cronjob="x",schedule="* * * * *",concurrency_policy="",timezone="local"} 1'
    }
    found = lines("horizontalpodautoscalers", {"metadata": meta, "spec": {"maxReplicas": 5}})
    named = '{namespace="n",horizontalpodautoscaler="x"}'
    assert of("kube_horizontalpodautoscaler_spec_min_replicas", found) == {f"{named} 1"}


def test_quotas_volumes_and_claims() -> None:
    meta = {"name": "x", "namespace": "n"}
    found = lines(
        "resourcequotas",
        {"metadata": meta, "status": {"hard": {"requests.cpu": "4"},
                                      "used": {"requests.cpu": "1500m"}}},
    )  # fmt: skip
    named = 'namespace="n",resourcequota="x",resource="requests.cpu"'
    assert of("kube_resourcequota", found) == {
        f'{{{named},type="hard"}} 4', f'{{{named},type="used"}} 1.5',
    }  # fmt: skip
    found = lines("limitranges", {"metadata": meta, "spec": {"limits": [
        {"type": "Pod", "max": {"memory": "1Gi"}}]}})  # fmt: skip
    assert of("kube_limitrange", found) == {
        '{namespace="n",limitrange="x",resource="memory",type="Pod",constraint="max"} 1073741824'
    }
    found = lines(
        "persistentvolumeclaims",
        {"metadata": meta, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                                    "resources": {"requests": {"storage": "1Gi"}}}},
    )  # fmt: skip
    named = 'namespace="n",persistentvolumeclaim="x"'
    assert of("kube_persistentvolumeclaim_info", found) == {
        f'{{{named},storageclass="fast",volumename="",volumemode=""}} 1'
    }
    assert of("kube_persistentvolumeclaim_resource_requests_storage_bytes", found) == {
        f"{{{named}}} 1073741824"
    }
    found = lines("persistentvolumes", {"metadata": {"name": "v"}, "status": {"phase": "Bound"}})
    assert '{persistentvolume="v",phase="Bound"} 1' in of(
        "kube_persistentvolume_status_phase", found
    )
    found = lines("poddisruptionbudgets", {"metadata": meta, "status": {"desiredHealthy": 2}})
    assert of("kube_poddisruptionbudget_status_desired_healthy", found) == {
        '{namespace="n",poddisruptionbudget="x"} 2'
    }


def test_an_object_that_changes_or_goes_takes_its_old_series_along() -> None:
    series = Series(BY_RESOURCE["pods"])
    old = object_of("pods", POD)
    series.on_event("ADDED", None, old)
    new = object_of("pods", POD | {"status": {"phase": "Failed"}})
    series.on_event("MODIFIED", old, new)
    text = "".join(series.text())
    assert 'phase="Failed"} 1' in text and 'phase="Running"} 1' not in text
    series.on_event("DELETED", new, None)
    assert not [line for line in "".join(series.text()).splitlines() if line[0] != "#"]


def test_objects_beyond_the_limit_have_no_series_until_there_is_room() -> None:
    series = Series(BY_RESOURCE["pods"], limit=1)
    first = object_of("pods", POD)
    second = object_of("pods", POD | {"metadata": {"name": "late", "namespace": "shop"}})
    series.on_event("ADDED", None, first)
    series.on_event("ADDED", None, second)
    assert (len(series), series.left_out) == (1, 1)
    series.on_event("DELETED", first, None)
    series.on_event("MODIFIED", second, second)
    assert (len(series), series.left_out) == (1, 0)


def test_labels_are_series_only_where_they_are_allowed() -> None:
    assert not of("kube_pod_labels", lines("pods", POD))
    (kind,) = Choice(("pods",), labels=keys_by_resource("pods=[x/y-z]")).kinds()
    named = 'namespace="shop",pod="web",uid="u1"'
    assert of("kube_pod_labels", lines("pods", POD, kind)) == {f'{{{named},label_x_y_z="a\\"b"}} 1'}
    (kind,) = Choice(("pods",), labels=keys_by_resource("pods=[*]")).kinds()
    (line,) = of("kube_pod_labels", lines("pods", POD, kind))
    assert 'label_app="web"' in line


def test_lists_choose_families_by_their_whole_name() -> None:
    def names(choice: Choice) -> set[str]:
        return {family.name for kind in choice.kinds() for family in kind.families}

    assert names(Choice(("pods",), allow=("kube_pod_info", "kube_pod_status_r.*"))) == {
        "kube_pod_info", "kube_pod_status_ready", "kube_pod_status_ready_time",
        "kube_pod_status_reason",
    }  # fmt: skip
    assert "kube_node_info" not in names(Choice(deny=("kube_node_.*",)))
    with pytest.raises(ValueError, match="resource secrets does not exist"):
        Choice(("secrets",)).kinds()
    with pytest.raises(ValueError, match="expected RESOURCE"):
        keys_by_resource("pods")


def test_its_user_may_watch_what_it_has_series_of_and_no_secret() -> None:
    roles = [one for one in bootstrap_policy() if isinstance(one, ClusterRole)]
    [rules] = [role.rules for role in roles if role.metadata.name == "muster:state-metrics"]

    def may(group: str, resource: str) -> bool:
        return all(
            any(allows(rule, Attributes(verb, group, resource)) for rule in rules)
            for verb in ("list", "watch")
        )

    for kind in KINDS:
        assert resource_for(kind.type).plural == kind.resource
        assert may(resource_for(kind.type).group, kind.resource), kind.resource
    assert not may("", "secrets")


def test_every_family_has_one_name_and_a_help_text() -> None:
    families: list[Family[Any]] = [f for kind in KINDS for f in kind.families]
    assert len({family.name for family in families}) == len(families)
    assert all(family.help.endswith(".") and "\n" not in family.help for family in families)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not there")
def test_prometheus_can_read_it() -> None:
    series = Series(BY_RESOURCE["pods"])
    odd = POD | {"metadata": {"name": 'a"\\\nb', "namespace": "n", "uid": "2"}}
    series.on_event("ADDED", None, object_of("pods", odd))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input="".join(series.text()).encode(),
        capture_output=True, check=False,
    )  # fmt: skip
    # 3: it was read, and the linter has an opinion on upstream's names.
    assert done.returncode in (0, 3), done.stderr
