"""MLflow as a tracker: a run for each campaign in one experiment, found again by the campaign's identity.

Needs the extra `trackers`. MLflow takes credentials from its own environment variables (`MLFLOW_TRACKING_USERNAME`,
`MLFLOW_TRACKING_PASSWORD`, `MLFLOW_TRACKING_TOKEN`); a URI that holds some is refused, for errors and process lists show it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from server.errors import TrackerError
from server.trackers.tracked import Figure, Tracked
from server.trackers.tracker import Missing, NeedsExtra

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPERIMENT = "fedpath"
PREFIX = "fedpath."  # of our tags
_METRICS, _PARAMS = 1000, 100  # that MLflow takes at once; of tags as many as of parameters
_SECRETS = ("password", "secret", "token")
_ENDED = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class MlflowTracker:
    """Writes to the tracking server, or to the database, of `uri`. Raises `TrackerError`."""

    def __init__(self, uri: str) -> None:
        check_uri(uri)
        with _told():
            self._client = _client(uri)
        self._run = ""
        self._missing = Missing(self._held)

    def write(self, told: Tracked) -> int:
        """As `server.trackers.tracker.Tracker` says."""
        with _told():
            self._run = self._run or self._found_or_made(told)
            missing = self._missing.of(told)
            self._describe(told)
            for first in range(0, len(missing), _METRICS):
                part = missing[first : first + _METRICS]
                self._client.log_batch(self._run, metrics=[_metric(figure) for figure in part])
                self._missing.written(part)
            if told.state in _ENDED:
                self._client.set_terminated(self._run, _ENDED[told.state], _millis(told.changed_at))
            else:
                self._client.update_run(self._run, "RUNNING")
        return len(missing)

    def _held(self) -> set[tuple[str, int]]:
        names = self._client.get_run(self._run).data.metrics
        return {(n, m.step) for n in names for m in self._client.get_metric_history(self._run, n)}

    def _found_or_made(self, told: Tracked) -> str:
        known = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if known is None else known.experiment_id
        ours = f"tags.`{PREFIX}identity` = '{told.identity}'"
        for run in self._client.search_runs([experiment], ours, max_results=1):
            return str(run.info.run_id)
        tags = {f"{PREFIX}identity": told.identity}
        made = self._client.create_run(experiment, _millis(told.begun_at), tags, told.campaign)
        return str(made.info.run_id)

    def _describe(self, told: Tracked) -> None:
        """Parameters that are there already with the same value stay; tags say what holds now."""
        from mlflow.entities import Param, RunTag

        params = [Param(key, value) for key, value in told.params.items()]
        tags = [RunTag(f"{PREFIX}{key}", value) for key, value in told.tags.items()]
        for first in range(0, max(len(params), len(tags)), _PARAMS):
            part = slice(first, first + _PARAMS)
            self._client.log_batch(self._run, params=params[part], tags=tags[part])


def check_uri(uri: str) -> None:
    """Raises `TrackerError` where credentials stand in it."""
    try:
        parts = urlsplit(uri)
        web = parts.scheme in ("http", "https")
        held = parts.password is not None or (web and parts.username is not None)
        held |= any(secret in key.lower() for key in parse_qs(parts.query, True) for secret in _SECRETS)
    except ValueError:
        raise TrackerError("the tracking URI can't be read: write https://host, or sqlite:///file") from None
    if held:
        raise TrackerError(
            "the tracking URI holds a password: take it out, and give it as MLflow's own environment variables "
            "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN)"
        )


def _client(uri: str) -> MlflowClient:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # nobody else is told who trains what
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # its own seven take minutes
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise NeedsExtra("MLflow") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def _told() -> Iterator[None]:
    """What MLflow says is told in one line."""
    try:
        yield
    except TrackerError:
        raise
    except Exception as error:  # MLflow lets its database's and its network's own errors through
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrackerError(
            f"MLflow: {first} -- mend that and call again: what is there already is not written twice"
        ) from error


def _metric(figure: Figure) -> Metric:
    from mlflow.entities import Metric

    return Metric(figure.name, figure.value, _millis(figure.at), figure.step)


def _millis(at: datetime) -> int:
    return round(at.timestamp() * 1000)
