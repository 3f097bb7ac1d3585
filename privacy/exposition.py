"""Figures for monitoring, in Prometheus' text form, and the one way in which a file of them is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_MODE = 0o640  # in a folder of 0700: whoever may enter that may read it


Values = Mapping[tuple[str, ...], float]  # by the values of labels


def gauge(name: str, about: str, values: float | Values, *labels: str) -> Metric:
    """What goes up and down: one value, or one by `labels`."""
    found = GaugeMetricFamily(f"fedpath_{name}", about, labels=labels)
    for key, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        found.add_metric(key, value)
    return found


def counter(name: str, about: str, values: Values, *labels: str) -> Metric:
    """Values that only grow, by `labels`."""
    found = CounterMetricFamily(f"fedpath_{name}", about, labels=labels)
    for key, value in values.items():
        found.add_metric(key, value)
    return found


def exposition(families: Iterable[Metric]) -> bytes:
    """The families as text. Label values are escaped: no name in them can make a line of its own."""

    class Once(Collector):
        def collect(self) -> Iterable[Metric]:
            return families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


def as_values(text: str) -> list[dict[str, object]]:
    """The same for `--json`: a name, labels and a value each."""
    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def write(path: Path, text: bytes) -> None:
    """Put `text` in the place of the file at `path`: who reads it finds the one before or all of this one. Raises `OSError`.

    The file has the folder's group where that has the set-group-id bit. It need not outlive a power cut, and is not synced.
    """
    part = path.with_suffix(".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        file.write(text)
        os.fchmod(file.fileno(), _MODE)
    part.replace(path)
