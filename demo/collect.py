"""What a finished federation says of itself: the figures of build/demo/result.json, read from stores and ledgers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from client.home import Home as Hospital
from demo.house import CAMPAIGN, House
from demo.processes import status_of
from privacy import accounting, keys
from privacy.egress_record import RELEASE
from privacy.ledger.database import Database
from privacy.ledger.entries import Kind
from privacy.ledger.reading import departures, read
from server.status import status

POINTS = {"base": "base", "sft": "sft", "federated": "grpo"}


def collect(house: House, seconds: float) -> dict[str, Any]:
    """All figures; the campaign must be done and the agents still up."""
    (campaign,) = [c for c in status(house.consortium)["campaigns"] if c["name"] == CAMPAIGN]
    found = {(e["point"], e["scale"], e["task"]): e for e in campaign["evaluations"] if not e["further"]}
    rows = []
    for point, scale, task in found:
        if point == "base":
            three = {key: found[at, scale, task] for key, at in POINTS.items()}
            last = three["federated"]
            rows.append(
                {"scale": scale, "task": task, "metric": last["metric"]}
                | {key: value["mean"] for key, value in three.items()}
                | {"ci95": last["ci95"], "n": last["n"]}
            )
    spent = {home.settings.name: epsilon_by_round(home) for home in house.hospitals}
    return {
        "rows": rows,
        "hospitals": [_hospital(home, spent[home.settings.name][-1]) for home in house.hospitals],
        "epsilon_by_round": spent,
        "rounds": [_round(found) for found in campaign["rounds"]],
        "network": ", ".join(
            sorted({(status_of(home) or {"network": "unknown"})["network"] for home in house.hospitals})
        ),
        "seconds": round(seconds, 1),
    }


def _hospital(home: Hospital, epsilon: float) -> dict[str, Any]:
    policy = home.policy
    entries, _ = read(Database(home.ledger, read_only=True), keys.load(home.release_key).public)
    left = departures(entries)
    own = status_of(home) or {}
    return {
        "name": home.settings.name,
        "epsilon": epsilon,
        "epsilon_budget": policy.epsilon_budget,
        "delta": policy.delta,
        "patients_nominal": policy.nominal_patients,
        "releases": sum(record.name.startswith(RELEASE) for _, record in left),
        "bytes_out": sum(record.bytes for _, record in left),
        "slides_skipped": len(own.get("skipped", {})),
    }


def epsilon_by_round(home: Hospital) -> list[float]:
    """Epsilon after each spend, from the hospital's own verified ledger."""
    key = keys.load(home.release_key).public
    entries, account = read(Database(home.ledger, read_only=True), key)
    spends = sum(entry.kind == Kind.SPEND for entry in entries)
    events = list(account.events())
    return [accounting.epsilon(events[: n + 1], home.policy.delta) for n in range(spends)]


def _round(found: dict[str, Any]) -> dict[str, Any]:
    accepted: dict[str, int] = {}
    refused = []
    for verdict in found["verdicts"]:
        if verdict["fault"] is None:
            accepted[verdict["hospital"]] = accepted.get(verdict["hospital"], 0) + 1
        else:
            refused.append(f"{verdict['hospital']} {verdict['expert'] or ''}: {verdict['fault']}")
    began, ended = (datetime.fromisoformat(found[key]) for key in ("opened_at", "committed_at"))
    return {
        "round": found["number"],
        "stage": found["stage"],
        "seconds": round((ended - began).total_seconds(), 1),
        "accepted": accepted,
        "refused": refused,
    }
