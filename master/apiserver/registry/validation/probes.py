"""Validation of probes and lifecycle handlers (validateProbe, validateLifecycle). Pure."""

from __future__ import annotations

from kube.api.core import (
    Container,
    ExecAction,
    HTTPGetAction,
    LifecycleHandler,
    Probe,
    TCPSocketAction,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats

Causes = list[StatusCause]
_SCHEMES = ("HTTP", "HTTPS")


def validate_probes(container: Container, path: str, *, init: bool) -> Causes:
    causes: Causes = []
    sidecar = container.restart_policy == "Always"
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is None:
            continue
        if init and not sidecar:
            text = "may not be set for init containers without restartPolicy=Always"
            causes.append(field.forbidden(f"{path}.{name}", text))
        causes += _probe(probe, f"{path}.{name}", single=name != "readinessProbe")
    return causes


def _probe(probe: Probe, path: str, *, single: bool) -> Causes:
    causes: Causes = []
    handlers = [h for h in (probe.exec_, probe.http_get, probe.tcp_socket, probe.grpc) if h]
    if not handlers:
        causes.append(field.required(path, "must specify a handler type"))
    if len(handlers) > 1:
        causes.append(field.forbidden(path, "may not specify more than 1 handler type"))
    causes += _actions(probe.exec_, probe.http_get, probe.tcp_socket, path)
    if probe.grpc:
        causes += formats.port(f"{path}.grpc.port", probe.grpc.port)
        causes += formats.one_line(f"{path}.grpc.service", probe.grpc.service)
    if single and probe.success_threshold not in (None, 1):
        causes.append(
            field.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1")
        )
    for name, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        causes += formats.at_least(f"{path}.{name}", value, 0)
    grace = probe.termination_grace_period_seconds
    return causes + formats.at_least(f"{path}.terminationGracePeriodSeconds", grace, 1)


def _actions(
    exec_: ExecAction | None, http: HTTPGetAction | None, tcp: TCPSocketAction | None, path: str
) -> Causes:
    causes: Causes = []
    if exec_ and not exec_.command:
        causes.append(field.required(f"{path}.exec.command"))
    if http:
        causes += _http(http, f"{path}.httpGet")
    if tcp:
        causes += formats.port(f"{path}.tcpSocket.port", tcp.port)
        causes += formats.one_line(f"{path}.tcpSocket.host", tcp.host)
    return causes


def _http(action: HTTPGetAction, path: str) -> Causes:
    """Of all that goes into a request's head nothing may begin a new line."""
    causes = [] if action.path else [field.required(f"{path}.path")]
    causes += formats.one_line(f"{path}.path", action.path)
    causes += formats.one_line(f"{path}.host", action.host)
    causes += formats.port(f"{path}.port", action.port)
    if action.scheme not in _SCHEMES:
        causes.append(field.not_supported(f"{path}.scheme", action.scheme, _SCHEMES))
    for index, header in enumerate(action.http_headers):
        causes += formats.header_name(f"{path}.httpHeaders[{index}].name", header.name)
        causes += formats.one_line(f"{path}.httpHeaders[{index}].value", header.value)
    return causes


def validate_lifecycle(container: Container, path: str, grace: int | None) -> Causes:
    if container.lifecycle is None:
        return []
    causes: Causes = []
    for name, handler in (
        ("postStart", container.lifecycle.post_start),
        ("preStop", container.lifecycle.pre_stop),
    ):
        if handler is not None:
            causes += _handler(handler, f"{path}.lifecycle.{name}", grace)
    return causes


def _handler(handler: LifecycleHandler, path: str, grace: int | None) -> Causes:
    given = [h for h in (handler.exec_, handler.http_get, handler.tcp_socket, handler.sleep) if h]
    causes: Causes = []
    if not given:
        causes.append(field.required(path, "must specify a handler type"))
    if len(given) > 1:
        causes.append(field.forbidden(path, "may not specify more than 1 handler type"))
    causes += _actions(handler.exec_, handler.http_get, handler.tcp_socket, path)
    if handler.sleep and not 0 <= (handler.sleep.seconds or 0) <= (grace or 30):
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace or 30})"
        causes.append(field.invalid(f"{path}.sleep.seconds", handler.sleep.seconds, text))
    return causes
