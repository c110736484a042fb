"""What a gRPC server's metrics say before anybody has called."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import generate_latest

from kube.client.metrics import observe
from kube.stubs.resources import resources_pb2 as pb

# A process of its own: series are the process', and others of this one may have called.
UNCALLED = """
from __future__ import annotations

from prometheus_client import generate_latest
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.service import methods_of
from kube.stubs.resources import resources_pb2 as pb

class Silent:
    async def get(self, request: pb.GetRequest) -> pb.ObjectResponse:
        raise NotImplementedError

service = pb.DESCRIPTOR.services_by_name["Resources"]
PrometheusObserver(methods=methods_of(service, Silent()))
print(generate_latest().decode())
"""


def test_series_of_methods_that_nobody_has_called_are_there_at_zero() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNCALLED], capture_output=True, text=True, check=True, timeout=60
    )
    service = pb.DESCRIPTOR.services_by_name["Resources"]
    labels = f'grpc_method="Get",grpc_service="{service.full_name}",grpc_type="unary"'
    for line in (
        f"grpc_server_started_total{{{labels}}} 0.0",
        f'grpc_server_handled_total{{grpc_code="OK",{labels}}} 0.0',
        f"grpc_server_handling_seconds_count{{{labels}}} 0.0",
    ):
        assert line in done.stdout, line


def test_a_client_that_had_no_failure_says_so() -> None:
    observe("Get", "10.0.0.9:6444", 200, 0.01)
    text = generate_latest().decode()
    assert 'rest_client_requests_total{code="500",host="10.0.0.9:6444",method="GET"} 0.0' in text
