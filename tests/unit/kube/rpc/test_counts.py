"""What a gRPC server's metrics say before anybody has called."""

from __future__ import annotations

from prometheus_client import generate_latest

from kube.client.metrics import observe
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.service import methods_of
from kube.stubs.resources import resources_pb2 as pb


class Silent:
    async def get(self, request: pb.GetRequest) -> pb.ObjectResponse:
        raise NotImplementedError


def test_series_of_methods_that_nobody_has_called_are_there_at_zero() -> None:
    service = pb.DESCRIPTOR.services_by_name["Resources"]
    PrometheusObserver(methods=methods_of(service, Silent()))
    text = generate_latest().decode()
    labels = f'grpc_method="Get",grpc_service="{service.full_name}",grpc_type="unary"'
    for line in (
        f"grpc_server_started_total{{{labels}}} 0.0",
        f'grpc_server_handled_total{{grpc_code="OK",{labels}}} 0.0',
        f"grpc_server_handling_seconds_count{{{labels}}} 0.0",
    ):
        assert line in text, line


def test_a_client_that_had_no_failure_says_so() -> None:
    observe("Get", "10.0.0.9:6444", 200, 0.01)
    text = generate_latest().decode()
    assert 'rest_client_requests_total{code="500",host="10.0.0.9:6444",method="GET"} 0.0' in text
