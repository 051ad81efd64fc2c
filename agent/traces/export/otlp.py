"""Sending spans to an OTLP endpoint over HTTP, so that an unavailable one does not slow a run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deeprec.agent.traces.export.otel import require_otel
from deeprec.agent.traces.records import TraceStoreError
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import plain

EXPORT_TIMEOUT_S = 3.0
"""Seconds for which a request is tried and repeated; spans that are not accepted by then are dropped."""
_PATH = "/v1/traces"
_BATCH = 256


def make_provider(endpoint: str, *, timeout_s: float = EXPORT_TIMEOUT_S) -> Any:
    """A tracer provider that sends spans in batches from a thread of its own. Call its `shutdown()` at the end.

    Args:
        endpoint: an OTLP/HTTP address, such as `http://localhost:4318`; the path `/v1/traces` is added where it is
            missing. Headers (a key) come from `OTEL_EXPORTER_OTLP_HEADERS`.
        timeout_s: for which a request is tried.
    Raises:
        ConfigError: the address is none, or OpenTelemetry is not installed.
    """
    exporter = _exporter(endpoint, timeout_s)
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@dataclass(frozen=True, slots=True)
class SpanOptions:
    """Settings of the spans that a command's runs make."""

    provider: Any
    with_content: bool
    """Setting of the variable that OpenTelemetry's own instrumentations read."""


@contextmanager
def spans_to(endpoint: str | None) -> Iterator[SpanOptions | None]:
    """Send the spans that are made inside to an endpoint; None does nothing.

    What cannot be sent is one line on stderr at the end. That takes `EXPORT_TIMEOUT_S` at most, and stops nothing.

    Raises:
        ConfigError: as for `make_provider`.
    """
    if endpoint is None:
        yield None
        return
    content = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
    provider = make_provider(endpoint)
    with _last_words() as log:
        try:
            yield SpanOptions(provider, content.strip().lower() in ("true", "1", "span_only", "span_and_event"))
        finally:
            provider.shutdown()
    if log.message:
        print(plain(f"Note: not all spans reached {without_password(endpoint)}: {log.message}.", 1000), file=sys.stderr)


def without_password(endpoint: str) -> str:
    """An endpoint as it may be shown: without what stands before the host."""
    scheme, separator, rest = endpoint.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"


class SpanSender:
    """Collects spans (`provider` makes them) and sends them on a call, so that a refusal is known."""

    def __init__(self, endpoint: str, *, timeout_s: float = 5.0) -> None:
        """Prepare to send; arguments and errors as for `make_provider`."""
        self._exporter, self._endpoint = _exporter(endpoint, timeout_s), without_password(endpoint)
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._made = InMemorySpanExporter()
        self.provider = TracerProvider(resource=_resource())
        self.provider.add_span_processor(SimpleSpanProcessor(self._made))

    def send(self) -> int:
        """Send what was collected; how many spans that was.

        Raises:
            TraceStoreError: the endpoint did not take them.
        """
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans = self._made.get_finished_spans()
        with _last_words() as log:
            try:
                for start in range(0, len(spans), _BATCH):
                    if self._exporter.export(spans[start : start + _BATCH]) is not SpanExportResult.SUCCESS:
                        raise TraceStoreError(
                            f"{self._endpoint} took {start} of {len(spans)} spans: {log.message or 'no answer'}. "
                            "See that a collector listens there for OTLP over HTTP."
                        )
            finally:
                self._exporter.shutdown()
        self._made.clear()
        return len(spans)


class _LastWords(logging.Handler):
    """Keeps what a library logged instead of printing it."""

    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().splitlines()[0].partition(" encountered while ")[0].rstrip(".")
        # The first names the cause, the last only that it was given up.
        self.message = self.message or words[:300]


@contextmanager
def _last_words() -> Iterator[_LastWords]:
    """Keep what OpenTelemetry logs from the terminal."""
    log, logger = _LastWords(), logging.getLogger("opentelemetry")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.propagate = propagates


def _exporter(endpoint: str, timeout_s: float) -> Any:
    require_otel()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Sending spans needs OpenTelemetry's SDK and OTLP exporter. "
            "Install them with: pip install 'deeprec-agent[otel]'"
        ) from error
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"{endpoint!r} is not an OTLP address. Give one such as http://localhost:4318.")
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    return OTLPSpanExporter(endpoint=parts._replace(path=path).geturl(), timeout=timeout_s)


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": "deeprec"})
