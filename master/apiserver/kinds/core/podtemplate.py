"""PodTemplates. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import PodTemplate, PodTemplateSpec
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import default_template
from master.apiserver.kinds.cell import containers, labels
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation.template import validate_template


def default(obj: PodTemplate) -> PodTemplate:
    return replace(obj, template=default_template(obj.template))


def validate(obj: PodTemplate) -> Causes:
    return validate_template(obj.template, "template")


def counted(obj: PodTemplate) -> PodTemplateSpec:
    return obj.template


def cells(obj: PodTemplate, _: datetime) -> Cells:
    names, images = containers(obj.template.spec.containers)
    return [obj.metadata.name, names, images, labels(obj.template.metadata.labels)]


KIND = Kind(
    resource=resource_for(PodTemplate),
    columns=columns("Name Containers Images Pod_Labels"),
    cells=cells,
    default=default,
    validate=validate,
    counted=counted,
)
