"""The metrics of a gRPC server under the names that go-grpc-prometheus made common.

Counted in plain numbers, which `Counts` turns into metrics when somebody scrapes: a counter of
prometheus_client takes a lock, and there are half a dozen steps per call. All on the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kube.rpc.errors import Code
from kube.rpc.service import Method

_LABELS = ["grpc_type", "grpc_service", "grpc_method"]
# Go's default buckets of a histogram, in seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Calls:
    """What happened to one method so far."""

    __slots__ = ("codes", "labels", "received", "seconds", "sent", "slots", "started")

    def __init__(self, method: Method) -> None:
        self.labels = [method.shape.value, method.service, method.name]
        self.started = self.received = self.sent = 0
        self.codes: dict[Code, int] = {}
        self.seconds = 0.0
        self.slots = [0] * (len(_BUCKETS) + 1)  # calls per bucket, the last one beyond them all


class Counts(Collector):
    """All calls that this process has served. One for the process: so are its metrics."""

    def __init__(self) -> None:
        self.calls: dict[str, _Calls] = {}
        self.bytes: dict[str, list[int]] = {}  # prefix of the name -> received, sent

    def collect(self) -> Iterable[Metric]:
        started = _counter("grpc_server_started", "Calls started.")
        received = _counter("grpc_server_msg_received", "Messages received.")
        sent = _counter("grpc_server_msg_sent", "Messages sent.")
        handled = _counter("grpc_server_handled", "Calls ended.", "grpc_code")
        handling = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Seconds a call took.", labels=_LABELS
        )
        for calls in self.calls.values():
            started.add_metric(calls.labels, calls.started)
            received.add_metric(calls.labels, calls.received)
            sent.add_metric(calls.labels, calls.sent)
            for code, count in calls.codes.items():
                handled.add_metric([*calls.labels, code.label], count)
            sums = list(accumulate(calls.slots))
            limits = [*map(str, _BUCKETS), "+Inf"]
            handling.add_metric(calls.labels, list(zip(limits, sums, strict=True)), calls.seconds)
        yield from (started, handled, handling, received, sent)
        for prefix, (came, went) in self.bytes.items():
            yield CounterMetricFamily(
                f"{prefix}_received_bytes", "Bytes received from gRPC clients.", value=came
            )
            yield CounterMetricFamily(
                f"{prefix}_sent_bytes", "Bytes sent to gRPC clients.", value=went
            )


def _counter(name: str, text: str, *more_labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=[*_LABELS, *more_labels])


_COUNTS = Counts()
REGISTRY.register(_COUNTS)


class PrometheusObserver:
    """Counts calls, and the bytes of their messages under names that begin with `bytes_under`.

    The series of `methods` are there from the start, at 0: a rate does not miss the first call.
    """

    def __init__(self, bytes_under: str = "", methods: Iterable[Method] = ()) -> None:
        self._calls = _COUNTS.calls
        for method in methods:
            self._of(method).codes.setdefault(Code.OK, 0)
        self._bytes = [0, 0]
        if bytes_under:
            self._bytes = _COUNTS.bytes.setdefault(bytes_under, self._bytes)

    def _of(self, method: Method) -> _Calls:
        calls = self._calls.get(method.path)
        if calls is None:
            calls = self._calls[method.path] = _Calls(method)
        return calls

    def started(self, method: Method) -> None:
        self._of(method).started += 1

    def handled(self, method: Method, code: Code, seconds: float) -> None:
        calls = self._of(method)
        calls.codes[code] = calls.codes.get(code, 0) + 1
        calls.seconds += seconds
        calls.slots[bisect_left(_BUCKETS, seconds)] += 1

    def received(self, method: Method, size: int) -> None:
        self._of(method).received += 1
        self._bytes[0] += size

    def sent(self, method: Method, size: int) -> None:
        self._of(method).sent += 1
        self._bytes[1] += size
