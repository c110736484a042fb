"""Each kind's rules, tried on its published example: what may be, may change, and is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kube.machinery.errors import Invalid
from master.apiserver.decoding.typed import to_typed
from master.apiserver.kinds.catalog import KINDS, AnyKind
from master.apiserver.kinds.kind import all_valid, any_change, name_and_age, unchanged
from tests.kinds import BY_NAME, EXAMPLES, Json, example_of, made, name_of, updated

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
EVERY_KIND = pytest.mark.parametrize("name", list(BY_NAME))


def causes(found: list[Any]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in found]


def at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value.get(step)
    return value


def plain(obj: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(obj))


def status_type(obj: Any) -> Any:
    return type(obj.status)


def test_every_kind_has_an_example() -> None:
    served = {(kind.resource.api_version, kind.resource.kind) for kind in KINDS}
    assert served == EXAMPLES.keys()


@EVERY_KIND
def test_the_example_is_valid(name: str) -> None:
    kind, obj = BY_NAME[name], made(name)
    assert causes(kind.validate(obj)) == []
    assert kind.check_name(obj.metadata.name) is None


@EVERY_KIND
def test_defaults_are_filled_in_once(name: str) -> None:
    obj = made(name)
    assert BY_NAME[name].default(obj) == obj


@EVERY_KIND
def test_the_same_may_be_written_again(name: str) -> None:
    obj = made(name)
    assert updated(name, obj, {}) == obj
    assert causes(BY_NAME[name].validate_update(obj, obj)) == []


@EVERY_KIND
def test_every_row_fits_its_columns(name: str) -> None:
    kind = BY_NAME[name]
    cells = kind.cells(made(name), NOW)
    assert len(cells) == len(kind.columns)
    for cell, column in zip(cells, kind.columns, strict=True):
        assert (column.type == "integer") == (isinstance(cell, int) and not isinstance(cell, bool))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.conversion], ids=name_of)
def test_another_version_loses_nothing(kind: AnyKind) -> None:
    assert kind.conversion is not None
    example = to_typed(kind.resource.type, example_of(kind.resource), "")
    stored = kind.conversion.to_stored(kind.default(example))
    assert kind.conversion.from_stored(stored) == kind.default(example)
    other = made(name_of(kind.stored))
    assert kind.conversion.to_stored(kind.conversion.from_stored(other)) == other
    assert len(kind.cells(example, NOW)) == len(kind.columns)


def test_garbage_in_an_annotation_says_nothing() -> None:
    [kind] = [k for k in KINDS if name_of(k) == "autoscaling.HorizontalPodAutoscaler.v1"]
    example = example_of(kind.resource)
    example["metadata"]["annotations"] = {
        "autoscaling.alpha.kubernetes.io/metrics": "[1, 2]",
        "autoscaling.alpha.kubernetes.io/behavior": "{",
    }
    assert kind.conversion is not None
    stored = kind.conversion.to_stored(to_typed(kind.resource.type, example, ""))
    assert len(stored.spec.metrics) == 1
    assert stored.metadata.annotations == {}


@pytest.mark.parametrize("name", [n for n, kind in BY_NAME.items() if kind.subresource("status")])
def test_a_new_object_has_no_status_of_its_makers(name: str) -> None:
    said = {"status": {"observedGeneration": 7, "message": "mine", "conditions": []}}
    if name == "Node":
        return  # a kubelet registers with its status
    status = plain(made(name, said)).get("status", {})
    assert "observedGeneration" not in status
    assert "message" not in status


CONTAINERS = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
WRONG: list[tuple[str, Json, str]] = [
    ("batch.Job", {"spec": {"template": {"spec": {"restartPolicy": None}}}},
     'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
    ("batch.Job", {"spec": {"template": {"spec": {"restartPolicy": "Often"}}}},
     'spec.template.spec.restartPolicy: Unsupported value: "Often": supported values: '
     '"OnFailure", "Never"'),
    ("batch.Job", {"spec": {"completions": -1}},
     "spec.completions: Invalid value: -1: must be greater than or equal to 0"),
    ("batch.Job", {"spec": {"completionMode": "Indexed", "completions": None}},
     "spec.completions: Required value: when completion mode is Indexed"),
    ("batch.Job", {"spec": {"completionMode": "Some"}},
     'spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"'),
    ("batch.Job", {"spec": {"backoffLimitPerIndex": 1}},
     "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
    ("batch.Job", {"spec": {"template": {"metadata": {"labels": {"job-name": "other"}}}}},
     'spec.template.metadata.labels[job-name]: Invalid value: "other": must be \'pi\''),
    ("batch.Job", {"spec": {"manualSelector": True}}, "spec.selector: Required value"),
    ("batch.Job", {"spec": {"podFailurePolicy": {"rules": [{"action": "FailJob"}]}}},
     'spec.podFailurePolicy.rules[0]: Invalid value: "": specifying one of OnExitCodes and '
     "OnPodConditions is required"),
    ("batch.CronJob", {"spec": {"schedule": "* * *"}},
     'spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]'),
    ("batch.CronJob", {"spec": {"schedule": "61 * * * *"}},
     'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'),
    ("batch.CronJob", {"spec": {"schedule": None}}, "spec.schedule: Required value"),
    ("batch.CronJob", {"spec": {"timeZone": "Mars/Olympus"}},
     'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
    ("batch.CronJob", {"spec": {"timeZone": "../../etc/passwd"}},
     'spec.timeZone: Invalid value: "../../etc/passwd": unknown time zone ../../etc/passwd'),
    ("batch.CronJob", {"spec": {"concurrencyPolicy": "Maybe"}},
     'spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", '
     '"Replace"'),
    ("batch.CronJob", {"spec": {"jobTemplate": {"spec": {"manualSelector": True}}}},
     'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", '
     '"false"'),
    ("batch.CronJob", {"metadata": {"name": "x" * 53}},
     f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters'),
    ("apps.DaemonSet", {"spec": {"selector": {"matchLabels": {"app": "other"}}}},
     'spec.template.metadata.labels: Invalid value: {"app": "logs"}: `selector` does not match '
     "template `labels`"),
    ("apps.DaemonSet", {"spec": {"selector": {"matchLabels": None}}},
     "spec.selector: Invalid value: {}: empty selector is invalid for daemonset"),
    ("apps.DaemonSet", {"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}},
     "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when "
     "maxUnavailable is non-zero"),
    ("apps.DaemonSet", {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}},
     "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge "
     "is 0"),
    ("apps.DaemonSet", {"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}},
     "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is "
     "not Supported"),
    ("apps.StatefulSet", {"spec": {"podManagementPolicy": "Any"}},
     'spec.podManagementPolicy: Invalid value: "Any": must be \'OrderedReady\' or \'Parallel\''),
    ("apps.StatefulSet", {"spec": {"updateStrategy": {"type": "Never"}}},
     'spec.updateStrategy: Invalid value: {"type": "Never"}: must be \'RollingUpdate\' or '
     "'OnDelete'"),
    ("apps.StatefulSet", {"spec": {"volumeClaimTemplates": []}},
     'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'),
    ("apps.StatefulSet", {"spec": {"ordinals": {"start": -1}}},
     "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"),
    ("apps.ControllerRevision", {"data": None}, "data: Required value: data is mandatory"),
    ("apps.Deployment", {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "x"}}}},
     'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "x": a valid percent string must '
     "be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
     "validation is '[0-9]+%')"),
    ("ReplicationController", {"spec": {"template": None}}, "spec.template: Required value"),
    ("ReplicationController", {"spec": {"selector": {"app": "other"}}},
     'spec.template.metadata.labels: Invalid value: {"app": "web"}: `selector` does not match '
     "template `labels`"),
    ("ReplicationController", {"spec": {"replicas": -1}},
     "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ("PodTemplate", {"template": {"spec": {"containers": None}}},
     "template.spec.containers: Required value"),
    ("LimitRange", {"spec": {"limits": [{"type": "Pod", "default": {"cpu": "1"}}]}},
     "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"),
    ("LimitRange",
     {"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}},
     'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'),
    ("LimitRange", {"spec": {"limits": [{"type": "PersistentVolumeClaim"}]}},
     "spec.limits[0]: Required value: either minimum or maximum storage value is required, but "
     "neither was provided"),
    ("LimitRange", {"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}},
     'spec.limits[1].type: Duplicate value: "Pod"'),
    ("LimitRange",
     {"spec": {"limits": [{"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}}]}},
     'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'),
    ("ResourceQuota", {"spec": {"hard": {"pods": "1500m"}}},
     'spec.hard[pods]: Invalid value: "1500m": must be an integer'),
    ("ResourceQuota", {"spec": {"hard": {"flowers": "1"}}},
     'spec.hard[flowers]: Invalid value: "flowers": must be a standard resource type or fully '
     "qualified"),
    ("ResourceQuota", {"spec": {"scopes": ["Sometimes"]}},
     'spec.scopes: Unsupported value: "Sometimes": supported values: "BestEffort", '
     '"CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", '
     '"Terminating", "VolumeAttributesClass"'),
    ("ResourceQuota", {"spec": {"hard": None, "scopes": ["BestEffort", "NotBestEffort"]}},
     'spec.scopes: Invalid value: ["BestEffort", "NotBestEffort"]: conflicting scopes'),
    ("PersistentVolume", {"spec": {"hostPath": None}},
     "spec: Required value: must specify a volume type"),
    ("PersistentVolume", {"spec": {"nfs": {"server": "s", "path": "/"}}},
     "spec.nfs: Forbidden: may not specify more than 1 volume type"),
    ("PersistentVolume", {"spec": {"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]}},
     "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"),
    ("PersistentVolume", {"spec": {"capacity": {"storage": "0"}}},
     'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
    ("PersistentVolume", {"spec": {"hostPath": None, "local": {"path": "/x"}}},
     "spec.nodeAffinity: Required value: Local volume requires node affinity"),
    ("PersistentVolumeClaim", {"spec": {"accessModes": None}},
     "spec.accessModes: Required value: at least 1 access mode is required"),
    ("PersistentVolumeClaim", {"spec": {"resources": None}},
     "spec.resources[storage]: Required value"),
    ("PersistentVolumeClaim", {"spec": {"volumeMode": "Tape"}},
     'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'),
    ("rbac.Role", {"rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]},
     "rules[0].verbs: Required value: verbs must contain at least one value"),
    ("rbac.Role", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
     'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to '
     "non-resource URLs"),
    ("rbac.ClusterRole", {"rules": [{"verbs": ["get"], "resources": ["pods"]}]},
     "rules[0].apiGroups: Required value: resource rules must supply at least one api group"),
    ("rbac.ClusterRole", {"aggregationRule": {}},
     "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector "
     "required if aggregationRule is non-nil"),
    ("rbac.RoleBinding", {"roleRef": {"kind": "Pod"}},
     'roleRef.kind: Unsupported value: "Pod": supported values: "Role", "ClusterRole"'),
    ("rbac.ClusterRoleBinding", {"roleRef": {"kind": "Role"}},
     'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'),
    ("rbac.ClusterRoleBinding", {"subjects": [{"kind": "ServiceAccount", "name": "x"}]},
     "subjects[0].namespace: Required value"),
    ("rbac.RoleBinding", {"subjects": [{"kind": "Robot", "name": "x"}]},
     'subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", '
     '"Group"'),
    ("networking.Ingress", {"spec": {"rules": None}},
     "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
    ("networking.Ingress", {"spec": {"rules": [{"host": "1.2.3.4"}]}},
     'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'),
    ("networking.Ingress", {"spec": {"rules": [{"http": {"paths": [
        {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s"}}}]}}]}},
     'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'),
    ("networking.Ingress", {"spec": {"rules": [{"http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s"}}}]}}]}},
     "spec.rules[0].http.paths[0].backend.service: Required value: port name or number is "
     "required"),
    ("networking.Ingress", {"spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}},
     "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"),
    ("networking.IngressClass", {"spec": {"controller": "nginx"}},
     'spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as '
     '"acme.io/foo")'),
    ("networking.IngressClass", {"spec": {"parameters": {"scope": "Namespace"}}},
     "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
    ("networking.NetworkPolicy", {"spec": {"ingress": [{"from": [{}]}]}},
     "spec.ingress[0].from[0]: Required value: must specify a peer"),
    ("networking.NetworkPolicy", {"spec": {"ingress": [{"from": [
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}},
     'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict '
     "subset of `cidr`"),
    ("networking.NetworkPolicy", {"spec": {"egress": [{"ports": [{"port": 80, "endPort": 70}]}]}},
     "spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"),
    ("networking.NetworkPolicy", {"spec": {"policyTypes": ["Sideways"]}},
     'spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'),
    ("networking.ServiceCIDR", {"spec": {"cidrs": ["10.97.0.1/16"]}},
     'spec.cidrs[0]: Invalid value: "10.97.0.1/16": must be in canonical form ("10.97.0.0/16")'),
    ("networking.IPAddress", {"spec": {"parentRef": None}}, "spec.parentRef: Required value"),
    ("policy.PodDisruptionBudget", {"spec": {"maxUnavailable": 1}},
     'spec: Invalid value: {"minAvailable": "50%", "maxUnavailable": 1}: minAvailable and '
     "maxUnavailable cannot be both set"),
    ("policy.PodDisruptionBudget", {"spec": {"minAvailable": "150%"}},
     'spec.minAvailable: Invalid value: "150%": must not be greater than 100%'),
    ("storage.StorageClass", {"provisioner": None}, "provisioner: Required value"),
    ("storage.StorageClass", {"reclaimPolicy": "Burn"},
     'reclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Retain"'),
    ("storage.VolumeAttachment", {"spec": {"source": None}},
     "spec.source: Required value: must specify exactly one of inlineVolumeSpec and "
     "persistentVolumeName"),
    ("storage.CSIDriver", {"spec": {"tokenRequests": [{"expirationSeconds": 5}]}},
     "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less "
     "than 10 minutes"),
    ("storage.CSINode", {"spec": {"drivers": [{"name": "a.b", "nodeID": ""}]}},
     "spec.drivers[0].nodeID: Required value"),
    ("storage.CSIStorageCapacity", {"capacity": "-1"},
     'capacity: Invalid value: "-1": must be greater than or equal to 0'),
    ("storage.VolumeAttributesClass", {"driverName": None}, "driverName: Required value"),
    ("scheduling.PriorityClass", {"value": 2_000_000_000},
     "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    ("scheduling.PriorityClass", {"metadata": {"name": "system-mine"}},
     "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system "
     "use only. error: system-mine is not a known system priority class"),
    ("node.RuntimeClass", {"handler": "Kata!"}, 'handler: Invalid value: "Kata!": a lowercase'),
    ("admissionregistration.ValidatingWebhookConfiguration",
     {"webhooks": [{"name": "short", "clientConfig": {}}]},
     'webhooks[0].name: Invalid value: "short": should be a domain with at least three segments '
     "separated by dots"),
    ("admissionregistration.ValidatingWebhookConfiguration",
     {"webhooks": [{"name": "a.b.c", "clientConfig": {}}]},
     "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
    ("admissionregistration.MutatingWebhookConfiguration",
     {"webhooks": [{"name": "a.b.c", "clientConfig": {"url": "http://x/"}}]},
     'webhooks[0].clientConfig.url: Invalid value: "http": \'https\' is the only allowed URL '
     "scheme; desired format: https://host[/path]"),
    ("admissionregistration.MutatingWebhookConfiguration",
     {"webhooks": [{"name": "a.b.c", "timeoutSeconds": 31}]},
     "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 "
     "seconds"),
    ("admissionregistration.MutatingWebhookConfiguration",
     {"webhooks": [{"name": "a.b.c", "rules": [{"operations": ["*", "CREATE"]}]}]},
     'webhooks[0].rules[0].operations: Invalid value: ["*", "CREATE"]: if \'*\' is present, must '
     "not specify other operations"),
    ("admissionregistration.ValidatingAdmissionPolicy", {"spec": {"validations": None}},
     "spec.validations: Required value: validations or auditAnnotations must be specified"),
    ("admissionregistration.ValidatingAdmissionPolicy", {"spec": {"matchConstraints": None}},
     "spec.matchConstraints: Required value"),
    ("admissionregistration.ValidatingAdmissionPolicyBinding",
     {"spec": {"validationActions": ["Deny", "Warn"]}},
     'spec.validationActions: Invalid value: ["Deny", "Warn"]: must not contain both Deny '),
    ("admissionregistration.MutatingAdmissionPolicy", {"spec": {"mutations": None}},
     "spec.mutations: Required value: mutations must contain at least one item"),
    ("flowcontrol.FlowSchema", {"spec": {"matchingPrecedence": 0}},
     "spec.matchingPrecedence: Invalid value: 0: must be a positive value"),
    ("flowcontrol.FlowSchema", {"spec": {"rules": [{"subjects": [{"kind": "User"}]}]}},
     "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is "
     "'User'"),
    ("flowcontrol.PriorityLevelConfiguration", {"spec": {"limited": None}},
     "spec.limited: Required value: must not be empty when type is Limited"),
    ("flowcontrol.PriorityLevelConfiguration",
     {"spec": {"limited": {"limitResponse": {"queuing": {"handSize": 99}}}}},
     "spec.limited.limitResponse.queuing.handSize: Invalid value: 99: should not be greater than "
     "queues (64)"),
    ("certificates.CertificateSigningRequest", {"spec": {"request": "eA=="}},
     'spec.request: Invalid value: "eA==": unable to parse csr: PEM block type must be '
     "CERTIFICATE REQUEST"),
    ("certificates.CertificateSigningRequest", {"spec": {"signerName": "me"}},
     'spec.signerName: Invalid value: "me": must be a fully qualified domain and path of the form '
     "'example.com/signer-name'"),
    ("certificates.CertificateSigningRequest", {"spec": {"expirationSeconds": 5}},
     "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds "
     "(10 minutes)"),
    ("autoscaling.HorizontalPodAutoscaler", {"spec": {"maxReplicas": 1}},
     "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"),
    ("autoscaling.HorizontalPodAutoscaler", {"spec": {"minReplicas": 0}},
     "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
    ("autoscaling.HorizontalPodAutoscaler", {"spec": {"metrics": [{"type": "Resource"}]}},
     "spec.metrics[0].resource: Required value: must populate information for the given metric "
     "source"),
    ("admissionregistration.MutatingAdmissionPolicyBinding", {"spec": {"policyName": None}},
     "spec.policyName: Required value"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "patch", "cause"), WRONG)
def test_what_is_wrong_is_named(name: str, patch: Json, cause: str) -> None:
    found = causes(BY_NAME[name].validate(made(name, patch)))
    assert any(one.startswith(cause) for one in found), found


IMMUTABLE = "field is immutable"
# The example changed at first; then the update; and what is wrong with it, if anything.
CHANGES: list[tuple[str, Json, Json, str]] = [
    ("batch.Job", {}, {"spec": {"parallelism": 5, "suspend": True}}, ""),
    ("batch.Job", {}, {"spec": {"completions": 5}},
     f"spec.completions: Invalid value: 5: {IMMUTABLE}"),
    ("batch.Job", {"spec": {"completionMode": "Indexed"}},
     {"spec": {"completions": 5, "parallelism": 5}}, ""),
    ("batch.Job", {"spec": {"completionMode": "Indexed"}}, {"spec": {"completions": 5}},
     "spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism to "
     "be equal to 2"),
    ("batch.Job", {"spec": {"suspend": True}},
     {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}, ""),
    ("batch.Job", {}, {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
     "spec.template: Invalid value:"),
    ("batch.CronJob", {}, {"spec": {"schedule": "@daily"}}, ""),
    ("apps.DaemonSet", {}, {"spec": {"selector": {"matchLabels": {"app": "x"}}}},
     'spec.selector: Invalid value: {"matchLabels": {"app": "x"}}: field is immutable'),
    ("apps.StatefulSet", {}, {"spec": {"replicas": 5, "minReadySeconds": 1}}, ""),
    ("apps.StatefulSet", {}, {"spec": {"serviceName": "other"}},
     "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
     "'template', 'updateStrategy', 'revisionHistoryLimit', "
     "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"),
    ("apps.ControllerRevision", {}, {"revision": 2}, ""),
    ("apps.ControllerRevision", {}, {"data": {"x": 1}}, "data: Invalid value:"),
    ("ResourceQuota", {}, {"spec": {"hard": {"pods": "1"}}}, ""),
    ("ResourceQuota", {}, {"spec": {"scopes": ["Terminating"]}},
     'spec.scopes: Invalid value: ["Terminating"]: field is immutable'),
    ("PersistentVolume", {}, {"spec": {"hostPath": {"path": "/other"}}},
     "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after "
     "creation"),
    ("PersistentVolume", {}, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, ""),
    ("PersistentVolumeClaim", {}, {"spec": {"volumeName": "disk"}}, ""),
    ("PersistentVolumeClaim", {}, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}},
     "spec: Forbidden: spec is immutable after creation except resources.requests and "
     "volumeAttributesClassName for bound claims"),
    ("rbac.RoleBinding", {}, {"subjects": None}, ""),
    ("rbac.RoleBinding", {}, {"roleRef": {"name": "other"}}, "roleRef: Invalid value: "),
    ("networking.IngressClass", {}, {"spec": {"controller": "a.b/c"}},
     f'spec.controller: Invalid value: "a.b/c": {IMMUTABLE}'),
    ("networking.ServiceCIDR", {}, {"spec": {"cidrs": ["10.97.0.0/16", "fd00::/112"]}}, ""),
    ("networking.ServiceCIDR", {}, {"spec": {"cidrs": ["10.98.0.0/16"]}},
     f'spec.cidrs: Invalid value: ["10.98.0.0/16"]: {IMMUTABLE}'),
    ("networking.IPAddress", {}, {"spec": {"parentRef": {"name": "b"}}}, "spec.parentRef: Invalid"),
    ("policy.PodDisruptionBudget", {}, {"spec": {"minAvailable": 2}}, ""),
    ("storage.StorageClass", {}, {"parameters": {"type": "hdd"}},
     "parameters: Forbidden: updates to parameters are forbidden."),
    ("storage.StorageClass", {}, {"provisioner": "x"},
     "provisioner: Forbidden: updates to provisioner are forbidden."),
    ("storage.StorageClass", {}, {"allowVolumeExpansion": False}, ""),
    ("storage.VolumeAttachment", {}, {"spec": {"nodeName": "b"}}, "spec: Invalid value:"),
    ("storage.CSIDriver", {}, {"spec": {"attachRequired": False}},
     f"spec.attachRequired: Invalid value: false: {IMMUTABLE}"),
    ("storage.CSINode", {}, {"spec": {"drivers": None}}, ""),
    ("storage.CSIStorageCapacity", {}, {"storageClassName": "b"}, "storageClassName: Invalid"),
    ("storage.VolumeAttributesClass", {}, {"parameters": {"iops": "1"}},
     "parameters: Forbidden: updates to parameters are forbidden."),
    ("scheduling.PriorityClass", {}, {"value": 5},
     "value: Forbidden: may not be changed in an update."),
    ("scheduling.PriorityClass", {}, {"description": "x"}, ""),
    ("node.RuntimeClass", {}, {"handler": "kata"}, f'handler: Invalid value: "kata": {IMMUTABLE}'),
    ("autoscaling.HorizontalPodAutoscaler", {}, {"spec": {"maxReplicas": 20}}, ""),
    ("rbac.ClusterRoleBinding", {}, {"roleRef": {"name": "other"}}, "roleRef: Invalid value: "),
    ("storage.CSINode", {}, {"spec": {"drivers": [{"name": "csi.example.com", "nodeID": "b"}]}},
     "spec.drivers[0]: Invalid value: "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "first", "patch", "cause"), CHANGES)
def test_what_may_change(name: str, first: Json, patch: Json, cause: str) -> None:
    old = made(name, first)
    new = updated(name, old, patch)
    found = causes(BY_NAME[name].validate_update(new, old))
    assert new != old
    assert found == [] if not cause else any(one.startswith(cause) for one in found), found


DEFAULTS: list[tuple[str, Json, str, Any]] = [
    ("batch.Job", {}, "spec.backoffLimit", 6),
    ("batch.Job", {}, "spec.completionMode", "NonIndexed"),
    ("batch.Job", {}, "spec.podReplacementPolicy", "TerminatingOrFailed"),
    ("batch.Job", {}, "spec.selector.matchLabels", {"batch.kubernetes.io/controller-uid": "1b2c"}),
    ("batch.Job", {}, "spec.template.metadata.labels", {
        "batch.kubernetes.io/controller-uid": "1b2c", "batch.kubernetes.io/job-name": "pi",
        "controller-uid": "1b2c", "job-name": "pi"}),
    ("batch.Job", {"spec": {"completions": None, "parallelism": None}}, "spec.completions", 1),
    ("batch.Job", {"spec": {"completions": None, "parallelism": 3}}, "spec.completions", None),
    ("batch.CronJob", {}, "spec.suspend", False),
    ("batch.CronJob", {}, "spec.successfulJobsHistoryLimit", 3),
    ("batch.CronJob", {}, "spec.failedJobsHistoryLimit", 1),
    ("apps.DaemonSet", {"spec": {"updateStrategy": None}}, "spec.updateStrategy",
     {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
    ("apps.DaemonSet", {}, "spec.revisionHistoryLimit", 10),
    ("apps.StatefulSet", {}, "spec.podManagementPolicy", "OrderedReady"),
    ("apps.StatefulSet", {}, "spec.updateStrategy",
     {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
    ("apps.StatefulSet", {}, "spec.persistentVolumeClaimRetentionPolicy",
     {"whenDeleted": "Retain", "whenScaled": "Retain"}),
    ("apps.StatefulSet", {}, "spec.volumeClaimTemplates.0.spec.volumeMode", "Filesystem"),
    ("ReplicationController", {"spec": {"selector": None}}, "spec.selector", {"app": "web"}),
    ("ReplicationController", {}, "metadata.labels", {"app": "web"}),
    ("LimitRange", {}, "spec.limits.0.default", {"cpu": "2"}),
    ("LimitRange", {}, "spec.limits.0.defaultRequest", {"cpu": "100m"}),
    ("PersistentVolume", {}, "spec.persistentVolumeReclaimPolicy", "Retain"),
    ("PersistentVolume", {}, "status.phase", "Pending"),
    ("PersistentVolumeClaim", {}, "spec.volumeMode", "Filesystem"),
    ("PersistentVolumeClaim", {}, "status.phase", "Pending"),
    ("rbac.RoleBinding", {}, "subjects.0.apiGroup", "rbac.authorization.k8s.io"),
    ("rbac.RoleBinding", {}, "subjects.2.apiGroup", None),
    ("networking.IngressClass", {}, "spec.parameters.scope", "Cluster"),
    ("networking.NetworkPolicy", {}, "spec.policyTypes", ["Ingress"]),
    ("networking.NetworkPolicy", {"spec": {"egress": [{}]}}, "spec.policyTypes",
     ["Ingress", "Egress"]),
    ("networking.NetworkPolicy", {}, "spec.ingress.0.ports.0.protocol", "TCP"),
    ("storage.StorageClass", {"volumeBindingMode": None}, "volumeBindingMode", "Immediate"),
    ("storage.StorageClass", {}, "reclaimPolicy", "Delete"),
    ("storage.CSIDriver", {}, "spec.attachRequired", True),
    ("storage.CSIDriver", {}, "spec.volumeLifecycleModes", ["Persistent"]),
    ("scheduling.PriorityClass", {}, "preemptionPolicy", "PreemptLowerPriority"),
    ("autoscaling.HorizontalPodAutoscaler", {"spec": {"metrics": None}},
     "spec.metrics.0.resource.target.averageUtilization", 80),
    ("autoscaling.HorizontalPodAutoscaler", {}, "spec.behavior.scaleUp.policies",
     [{"periodSeconds": 15, "type": "Pods", "value": 4},
      {"periodSeconds": 15, "type": "Percent", "value": 100}]),
    ("autoscaling.HorizontalPodAutoscaler", {"spec": {"behavior": None}}, "spec.behavior", None),
    ("admissionregistration.ValidatingWebhookConfiguration", {}, "webhooks.0.timeoutSeconds", 10),
    ("admissionregistration.ValidatingWebhookConfiguration", {}, "webhooks.0.objectSelector", {}),
    ("admissionregistration.ValidatingWebhookConfiguration", {},
     "webhooks.0.clientConfig.service.port", 443),
    ("admissionregistration.MutatingWebhookConfiguration", {}, "webhooks.0.reinvocationPolicy",
     "Never"),
    ("admissionregistration.ValidatingAdmissionPolicy", {},
     "spec.matchConstraints.matchPolicy", "Equivalent"),
    ("flowcontrol.PriorityLevelConfiguration", {}, "spec.limited.limitResponse.queuing",
     {"handSize": 8, "queueLengthLimit": 50, "queues": 64}),
    ("PodTemplate", {}, "template.spec.restartPolicy", "Always"),
    ("rbac.ClusterRoleBinding", {"roleRef": {"apiGroup": None}}, "roleRef.apiGroup",
     "rbac.authorization.k8s.io"),
    ("admissionregistration.ValidatingAdmissionPolicyBinding", {},
     "spec.matchResources.matchPolicy", "Equivalent"),
    ("admissionregistration.MutatingAdmissionPolicy", {},
     "spec.matchConstraints.resourceRules.0.scope", "*"),
    ("admissionregistration.MutatingAdmissionPolicyBinding", {"spec": {"matchResources": {}}},
     "spec.matchResources.objectSelector", {}),
    ("flowcontrol.FlowSchema", {"spec": {"matchingPrecedence": None}},
     "spec.matchingPrecedence", 1000),
]  # fmt: skip


@pytest.mark.parametrize(("name", "patch", "path", "value"), DEFAULTS)
def test_what_is_left_out_is_filled_in(name: str, patch: Json, path: str, value: Any) -> None:
    assert at(plain(made(name, patch)), path) == value


# The example with this status, and the row that it makes.
ROWS: list[tuple[str, Json, list[Any]]] = [
    ("batch.Job", {"succeeded": 1, "startTime": "2026-01-02T03:04:05Z"},
     ["pi", "Running", "1/4", "60m", "60m", "pi", "perl:5",
      "batch.kubernetes.io/controller-uid=1b2c"]),
    ("batch.Job", {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 4,
                   "startTime": "2026-01-02T03:04:05Z",
                   "completionTime": "2026-01-02T03:04:12Z"},
     ["pi", "Complete", "4/4", "7s", "60m", "pi", "perl:5",
      "batch.kubernetes.io/controller-uid=1b2c"]),
    ("batch.CronJob", {"active": [{"name": "x"}], "lastScheduleTime": "2026-01-02T04:00:05Z"},
     ["report", "*/5 8-18 * * mon-fri", "Europe/Berlin", "False", 1, "4m", "60m", "report",
      "report:1", "<none>"]),
    ("apps.DaemonSet", {"desiredNumberScheduled": 3, "currentNumberScheduled": 2,
                        "numberReady": 1, "updatedNumberScheduled": 2, "numberAvailable": 1},
     ["logs", 3, 2, 1, 2, 1, "kubernetes.io/os=linux", "60m", "logs", "fluent-bit:3",
      "app=logs"]),
    ("apps.StatefulSet", {"readyReplicas": 2}, ["db", "2/3", "60m", "db", "postgres:17"]),
    ("ReplicationController", {"replicas": 2, "readyReplicas": 1},
     ["web", 2, 2, 1, "60m", "web", "nginx:1.27", "app=web"]),
    ("ResourceQuota", {"hard": {"pods": "20", "limits.memory": "8Gi"}, "used": {"pods": "3"}},
     ["team", "pods: 3/20", "limits.memory: 0/8Gi", "60m"]),
    ("PersistentVolume", {"phase": "Bound"},
     ["disk", "5Gi", "RWO", "Retain", "Bound", "", "manual", "<unset>", "", "60m", "Filesystem"]),
    ("PersistentVolumeClaim", {"phase": "Pending"},
     ["data", "Pending", "", "", "", "manual", "<unset>", "60m", "Filesystem"]),
    ("networking.Ingress", {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}},
     ["web", "nginx", "shop.example.com", "1.2.3.4", "80, 443", "60m"]),
    ("policy.PodDisruptionBudget", {"disruptionsAllowed": 2}, ["web", "50%", "N/A", 2, "60m"]),
    ("storage.VolumeAttachment", {"attached": True},
     ["csi-4f2", "csi.example.com", "disk", "worker-1", True, "60m"]),
    ("autoscaling.HorizontalPodAutoscaler",
     {"currentReplicas": 3, "currentMetrics": [
         {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]},
     ["web", "Deployment/web", "cpu: 12%/60%, <unknown>/1k", "2", "10", "3", "60m"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "row"), ROWS)
def test_what_kubectl_shows(name: str, status: Json, row: list[Any]) -> None:
    kind = BY_NAME[name]
    obj = made(name)
    typed = msgspec.convert(status, type(getattr(obj, "status")))  # noqa: B009 - of any kind
    assert kind.cells(msgspec.structs.replace(obj, status=typed), NOW) == row  # type: ignore[call-arg]


# Of kinds without a status.
PLAIN_ROWS: list[tuple[str, list[Any]]] = [
    ("rbac.ClusterRole", ["shop:metrics", "2026-01-02T03:04:05Z"]),
    ("rbac.RoleBinding", ["readers", "Role/reader", "60m", "jane", "team:web", "default/web"]),
    ("networking.IngressClass", ["nginx", "k8s.io/ingress-nginx",
                                 "Settings.k8s.example.com/fast", "60m"]),
    ("networking.NetworkPolicy", ["db", "app=db", "60m"]),
    ("networking.IPAddress", ["10.96.0.77", "services/default/web"]),
    ("storage.StorageClass", ["fast (default)", "csi.example.com", "Delete",
                              "WaitForFirstConsumer", True, "60m"]),
    ("storage.CSIDriver", ["csi.example.com", True, True, False, "vault", False, "Persistent",
                           "60m"]),
    ("storage.CSINode", ["worker-1", 1, "60m"]),
    ("scheduling.PriorityClass", ["urgent", 100000, False, "60m", "PreemptLowerPriority"]),
    ("PodTemplate", ["web", "web", "nginx:1.27", "app=web"]),
    ("admissionregistration.ValidatingAdmissionPolicy",
     ["few-replicas.example.com", 1, "<unset>", "60m"]),
    ("admissionregistration.ValidatingAdmissionPolicyBinding",
     ["few-replicas.example.com", "few-replicas.example.com", "<unset>", "60m"]),
    ("admissionregistration.ValidatingWebhookConfiguration", ["rules.example.com", 1, "60m"]),
    ("flowcontrol.FlowSchema", ["robots", "robots", "500", "ByUser", "60m", "?"]),
    ("flowcontrol.PriorityLevelConfiguration",
     ["robots", "Limited", "5", "64", "8", "50", "60m"]),
    ("certificates.CertificateSigningRequest",
     ["jane", "60m", "kubernetes.io/kube-apiserver-client", "", "24h", "Pending"]),
    ("LimitRange", ["small", "2026-01-02T03:04:05Z"]),
    ("apps.ControllerRevision", ["db-6f7", "<none>", 1, "60m"]),
    ("rbac.Role", ["reader", "2026-01-02T03:04:05Z"]),
    ("rbac.ClusterRoleBinding",
     ["shop:metrics", "ClusterRole/shop:metrics", "60m", "", "", "monitoring/scraper"]),
    ("networking.ServiceCIDR", ["more", "10.97.0.0/16", "60m"]),
    ("storage.CSIStorageCapacity", ["csisc-x1", "fast", "100Gi"]),
    ("storage.VolumeAttributesClass", ["silver", "csi.example.com", "60m"]),
    ("node.RuntimeClass", ["runc", "runc", "60m"]),
    ("admissionregistration.MutatingWebhookConfiguration", ["defaults.example.com", 1, "60m"]),
    ("admissionregistration.MutatingAdmissionPolicy", ["label.example.com", 1, "<unset>", "60m"]),
    ("admissionregistration.MutatingAdmissionPolicyBinding",
     ["label.example.com", "label.example.com", "<unset>", "60m"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row"), PLAIN_ROWS)
def test_what_kubectl_shows_of_the_example(name: str, row: list[Any]) -> None:
    assert BY_NAME[name].cells(made(name), NOW) == row


def test_approval_changes_conditions_and_nothing_else() -> None:
    name = "certificates.CertificateSigningRequest"
    kind, old = BY_NAME[name], made(name)
    approval = kind.subresource("approval")
    assert approval and approval.edit
    both = [{"type": type_, "status": "True", "reason": "Me"} for type_ in ("Approved", "Denied")]
    wanted = updated(name, old, {"spec": {"username": "root"}})
    wanted = msgspec.structs.replace(
        wanted,
        status=msgspec.convert({"conditions": both[:1], "certificate": "eA=="}, status_type(old)),  # type: ignore[call-arg]
    )
    new = approval.edit(old, wanted, "2026-01-02T03:04:06Z")
    assert plain(new)["status"] == {
        "conditions": [
            {
                "lastTransitionTime": "2026-01-02T03:04:06Z",
                "lastUpdateTime": "2026-01-02T03:04:06Z",
                **both[0],
            }
        ]
    }
    assert plain(new)["spec"] == plain(old)["spec"]
    decided = msgspec.convert({"conditions": both}, status_type(old))
    found = causes(kind.validate(msgspec.structs.replace(old, status=decided)))  # type: ignore[call-arg]
    assert found == [
        'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are '
        "mutually exclusive"
    ]
    with pytest.raises(Invalid, match='may not remove a condition of type "Approved"'):
        approval.edit(new, old, "")


# Kinds whose rules are tried elsewhere: in test_registry.py, test_extensions.py and by kubectl.
ELSEWHERE = {
    "ConfigMap", "Endpoints", "Event", "Namespace", "Node", "Pod", "Secret", "Service",
    "ServiceAccount", "apiextensions.CustomResourceDefinition", "apps.Deployment",
    "apps.ReplicaSet", "coordination.Lease", "discovery.EndpointSlice",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - ELSEWHERE))
def test_each_rule_of_a_kind_is_tried_here(name: str) -> None:
    kind = BY_NAME[name]
    shown = {row[0] for row in ROWS} | {row[0] for row in PLAIN_ROWS}
    tried = {
        "validate": (all_valid, {row[0] for row in WRONG}),
        "validate_update": (any_change, {row[0] for row in CHANGES if row[3]}),
        "default": (unchanged, {row[0] for row in DEFAULTS}),
        "cells": (name_and_age, shown),
    }
    for rule, (none, names) in tried.items():
        assert getattr(kind, rule) is none or name in names, rule


def test_bound_claims_may_grow() -> None:
    old = made("PersistentVolumeClaim")
    bound = msgspec.convert(
        {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        type(getattr(old, "status")),  # noqa: B009 - of any kind
    )
    old = msgspec.structs.replace(old, status=bound)  # type: ignore[call-arg]
    grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    judge = BY_NAME["PersistentVolumeClaim"].validate_update
    assert judge(updated("PersistentVolumeClaim", old, grown), old) == []
    shrunk = {"spec": {"resources": {"requests": {"storage": "1Mi"}}}}
    found = causes(judge(updated("PersistentVolumeClaim", old, shrunk), old))
    assert found == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]
