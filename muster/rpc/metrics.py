"""The metrics of a gRPC server under the names that go-grpc-prometheus made common."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from muster.rpc.errors import Code
from muster.rpc.service import Method

_LABELS = ["grpc_type", "grpc_service", "grpc_method"]
STARTED = Counter("grpc_server_started_total", "Calls started.", _LABELS)
HANDLED = Counter("grpc_server_handled_total", "Calls ended.", [*_LABELS, "grpc_code"])
HANDLING = Histogram("grpc_server_handling_seconds", "Seconds a call took.", _LABELS)
MSG_RECEIVED = Counter("grpc_server_msg_received_total", "Messages received.", _LABELS)
MSG_SENT = Counter("grpc_server_msg_sent_total", "Messages sent.", _LABELS)


class PrometheusObserver:
    """Counts calls. Looking a label set up is the slow part, so each is looked up once."""

    def __init__(
        self, received_bytes: Counter | None = None, sent_bytes: Counter | None = None
    ) -> None:
        self._received_bytes = received_bytes
        self._sent_bytes = sent_bytes
        self._known: dict[str, tuple[Counter, Histogram, Counter, Counter]] = {}
        self._codes: dict[tuple[str, Code], Counter] = {}

    def _of(self, method: Method) -> tuple[Counter, Histogram, Counter, Counter]:
        known = self._known.get(method.path)
        if known is None:
            labels = (method.shape.value, method.service, method.name)
            known = self._known[method.path] = (
                STARTED.labels(*labels),
                HANDLING.labels(*labels),
                MSG_RECEIVED.labels(*labels),
                MSG_SENT.labels(*labels),
            )
        return known

    def started(self, method: Method) -> None:
        self._of(method)[0].inc()

    def handled(self, method: Method, code: Code, seconds: float) -> None:
        counter = self._codes.get((method.path, code))
        if counter is None:
            counter = self._codes[method.path, code] = HANDLED.labels(
                method.shape.value, method.service, method.name, code.label
            )
        counter.inc()
        self._of(method)[1].observe(seconds)

    def received(self, method: Method, size: int) -> None:
        self._of(method)[2].inc()
        if self._received_bytes is not None:
            self._received_bytes.inc(size)

    def sent(self, method: Method, size: int) -> None:
        self._of(method)[3].inc()
        if self._sent_bytes is not None:
            self._sent_bytes.inc(size)
