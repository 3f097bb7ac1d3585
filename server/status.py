"""The consortium's state as one JSON value: what `fedpath-consortium status --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from rich.markup import escape
from rich.table import Table

from privacy.enrolment.expiry import Level
from privacy.estimates import estimate
from privacy.evaluation import NoisedEvaluation
from server import tables as db
from server.errors import StoreError
from server.home import Home
from server.provision.kits import kit_expiry
from server.provision.renew import expiries
from server.store import Store

_NAMED = 12  # hospitals in a cell of a table
_ORDER = {  # where it is not the primary key's
    db.evaluations: (db.evaluations.c.place,),
    db.noised_evaluations: (db.noised_evaluations.c.opened_at, db.noised_evaluations.c.point),
}


def status(home: Home) -> dict[str, Any]:
    """Hospitals, what ends when, and every campaign with its rounds (who was asked, who answered when) and evaluations."""
    store, now = home.store(), datetime.now(UTC)
    enrolled = store.hospitals()
    kits = {name: kit_expiry(home, name, now) for name in enrolled}
    hospitals = [
        {
            "name": h.name,
            "evaluator": h.evaluator,
            "experts": h.experts,
            "code_hash": h.code_hash,
            "kit": None if (kit := kits[h.name]) is None else kit.to_dict(),
        }
        for h in enrolled.values()
    ]
    revoked = [
        {"name": r.hospital, "evaluator": r.evaluator, "revoked_at": r.at, "reason": r.reason}
        for r in store.revoked().values()
    ]
    invited = [
        {"name": i.hospital, "evaluator": i.evaluator, "expires": i.expires_at} for i in store.invited()
    ]
    return {
        "consortium": home.name,
        "superlink": home.superlink,
        "hospitals": hospitals,
        "invited": invited,
        "revoked": revoked,
        "expiries": [expiry.to_dict() for expiry in expiries(home, now)],
        "database_fault": None,
        "campaigns": [_campaign(home, store, name) for name in store.campaigns()],
    }


def without_database(home: Home, fault: StoreError) -> dict[str, Any]:
    """What can be said while the database can't be had: what ends when, and of each campaign that a process runs, whether
    that waits for the database.
    """
    return {
        "consortium": home.name,
        "superlink": home.superlink,
        "expiries": [expiry.to_dict() for expiry in expiries(home, datetime.now(UTC))],
        "database_fault": str(fault),
        "campaigns": [
            {"name": name, "alive": True, "waits_for_database": _wait(home, name, alive=True)}
            for name in home.running()
        ],
    }


def _wait(home: Home, name: str, *, alive: bool) -> dict[str, str] | None:
    """Since when, and until when at most, who runs this campaign waits for the database; None where nobody does."""
    wait = home.waiting(name).read() if alive else None
    return None if wait is None else asdict(wait)


def _campaign(home: Home, store: Store, name: str) -> dict[str, Any]:
    (row,) = store.read(sql.select(db.campaigns).filter_by(name=name))
    alive = home.is_running(name)
    asks = _by_round(
        store, db.asks, name, ("attempt", "hospital", "asked_at", "answered_at", "answer", "bytes")
    )
    verdicts = _by_round(store, db.verdicts, name, ("hospital", "expert", "fault", "bytes", "noise_std"))
    aggregates = _by_round(store, db.aggregates, name, ("expert", "report"))
    table = db.rounds
    found = store.read(
        sql.select(table).filter_by(campaign=name).where(table.c.number > 0).order_by("number")
    )
    shown = ("number", "stage", "opened_at", "committed_at", "attempts", "seconds")
    return {
        **{
            key: row[key]
            for key in ("name", "state", "doing", "failure", "run_id", "begun_at", "changed_at", "held_at")
        },
        "alive": alive,
        "waits_for_database": _wait(home, name, alive=alive),
        "rounds_total": row["rounds"],
        "rounds_committed": sum(item["committed_at"] is not None for item in found),
        "experts": store.states(name),
        "rounds": [
            {
                **{key: item[key] for key in shown},
                "asks": asks.get(item["number"], []),
                "verdicts": verdicts.get(item["number"], []),
                "aggregates": {row["expert"]: row["report"] for row in aggregates.get(item["number"], [])},
            }
            for item in found
        ],
        "evaluations": [_evaluation(item) for item in store.read(_of(db.evaluations, name))],
        "noised_evaluations": noised_evaluations(store, name),
    }


def _evaluation(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("point", "scale", "task", "metric", "mean", "further")}
    return {**kept, "ci95": [row["low"], row["high"]], "n": row["n"]}


def noised_evaluations(store: Store, name: str) -> list[dict[str, Any]]:
    """Each noised evaluation that is committed: by hospital, and pooled over those that answered."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in store.read(_of(db.noised_answers, name)):
        answers.setdefault(row["point"], []).append(row)
    return [
        _noised_point(NoisedEvaluation.from_bytes(row["request"]), answers.get(row["point"], []))
        for row in store.read(_of(db.noised_evaluations, name))
        if row["committed_at"] is not None
    ]


def _noised_point(request: NoisedEvaluation, answers: list[dict[str, Any]]) -> dict[str, Any]:
    taken = [row for row in answers if row["fault"] is None]
    return {
        "point": request.point,
        "round": request.round,
        "noise_multiplier": request.noise_multiplier,
        "noise_std": request.noise_std,
        "hospitals": [
            {
                "hospital": row["hospital"],
                "fault": row["fault"],
                "kinds": [] if row["fault"] else _kinds(request, [row]),
            }
            for row in answers
        ],
        "pooled": _kinds(request, taken) if taken else [],
    }


def _kinds(request: NoisedEvaluation, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The estimate for each kind, over the patients of all `rows` together."""
    found = []
    for index, (scale, task) in enumerate(request.kinds):
        counts = [(row["right"][index], row["wrong"][index], row["noise_std"]) for row in rows]
        value = estimate(counts)
        about = {"scale": scale, "task": task, "mean": value.mean, "ci95": list(value.ci95)}
        found.append({**about, "right": sum(c[0] for c in counts), "wrong": sum(c[1] for c in counts)})
    return found


def _by_round(
    store: Store, table: sql.Table, name: str, keys: tuple[str, ...]
) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in store.read(_of(table, name)):
        found.setdefault(row["number"], []).append({key: row[key] for key in keys})
    return found


def _of(table: sql.Table, campaign: str) -> sql.Select[Any]:
    return sql.select(table).filter_by(campaign=campaign).order_by(*_ORDER.get(table, table.primary_key))


def tables(values: dict[str, Any]) -> list[Table]:
    """The same for the eye: hospitals, then each campaign's rounds and evaluations."""
    found = [
        _table(
            f"{values['consortium']} at {values['superlink']}",
            ("hospital", "experts", "code", "kit"),
            [
                (
                    h["name"] + (" (evaluator)" if h["evaluator"] else ""),
                    ", ".join(h["experts"] or ()) or "not met yet",
                    (h["code_hash"] or "")[:12],
                    "none: `renew` writes it" if h["kit"] is None else _left(h["kit"]),
                )
                for h in values["hospitals"]
            ]
            + [(i["name"], f"invited until {i['expires']}", "", "") for i in values["invited"]]
            + [
                (r["name"], f"revoked at {r['revoked_at']}: {r['reason'] or 'no reason given'}", "", "")
                for r in values["revoked"]
            ],
        ),
        _ends(values),
    ]
    for campaign in values["campaigns"]:
        title = (
            f"{campaign['name']}: {_state(campaign)}, {campaign['rounds_committed']} of "
            f"{campaign['rounds_total']} rounds; {campaign['failure'] or campaign['doing']}"
        )
        rows = [(str(r["number"]), r["stage"], _committed(r), _answers(r)) for r in campaign["rounds"]]
        found.append(_table(title, ("round", "stage", "committed", "answers"), rows))
        if campaign["evaluations"]:
            scores = [
                (e["point"], e["scale"], e["task"], e["metric"], f"{e['mean']:.3f}", str(e["n"]))
                for e in campaign["evaluations"]
            ]
            found.append(_table("evaluations", ("after", "scale", "task", "metric", "mean", "n"), scores))
        if campaign["noised_evaluations"]:
            found.append(_noised_table(campaign["noised_evaluations"]))
    return found


def tables_without_database(values: dict[str, Any]) -> list[Table]:
    """The same for the eye, of `without_database`."""
    rows = [(campaign["name"], _waits(campaign) or "at work") for campaign in values["campaigns"]]
    return [_ends(values), _table("campaigns that a process runs", ("campaign", ""), rows)]


def _ends(values: dict[str, Any]) -> Table:
    return _table("what ends when", ("what", ""), [(e["what"], _left(e)) for e in values["expiries"]])


def _state(campaign: dict[str, Any]) -> str:
    """The state that was last written down, and what has come between since."""
    state = str(campaign["state"])
    if campaign["held_at"] and state != "paused":
        state += " (to pause)"
    if campaign["state"] in ("running", "paused") and not campaign["alive"]:
        return f"{state}, but no process runs it: run it again, and it goes on"
    waits = _waits(campaign)
    return f"{state}, {waits}" if waits else state


def _waits(campaign: dict[str, Any]) -> str:
    wait = campaign["waits_for_database"]
    return f"waits for its database since {wait['since']}, until {wait['until']} at most" if wait else ""


def _left(expiry: dict[str, Any]) -> str:
    """How long something is good, and how loudly to say so."""
    level = "" if expiry["level"] == Level.FINE else f"{expiry['level'].upper()}: "
    days = expiry["days_left"]
    return f"{level}expired" if days < 0 else f"{level}{days} days left"


def _noised_table(evaluations: list[dict[str, Any]]) -> Table:
    """What all hospitals that answered say together, and who did not."""
    rows = []
    for evaluation in evaluations:
        faults = [f"{h['hospital']}: {h['fault']}" for h in evaluation["hospitals"] if h["fault"]]
        without = ", ".join(faults) or "nobody"
        for kind in evaluation["pooled"]:
            low, high = kind["ci95"]
            score = (f"{kind['mean']:.3f}", f"{low:.3f} to {high:.3f}")
            rows.append((evaluation["point"], kind["scale"], kind["task"], *score, without))
        if not evaluation["pooled"]:
            rows.append((evaluation["point"], "", "", "", "", without))
    columns = ("after", "scale", "task", "mean score", "95 % interval of the noise", "without")
    return _table("on the hospitals' patients, in noised counts", columns, rows)


def _answers(row: dict[str, Any]) -> str:
    """Who answered what in the last attempt, and at which rank if below the plan's; where many were asked, how many, and by
    name only where few did.
    """
    ranks = {name: f" of rank {rank}" for name, rank in _ranks(row).items()}
    last = [
        (ask["hospital"], (ask["answer"] or "at work") + ranks.get(ask["hospital"], ""))
        for ask in row["asks"]
        if ask["attempt"] == row["attempts"]
    ]
    if len(last) <= _NAMED:
        return ", ".join(f"{name}: {answer}" for name, answer in last)
    by_answer: dict[str, list[str]] = {}
    for name, answer in last:
        by_answer.setdefault(answer, []).append(name)
    return "; ".join(
        f"{answer}: {', '.join(names) if len(names) <= _NAMED else f'{len(names)} hospitals'}"
        for answer, names in by_answer.items()
    )


def _ranks(row: dict[str, Any]) -> dict[str, int]:
    """Of the hospitals that trained fewer columns of an expert than it has: the most that they trained of any such."""
    found: dict[str, int] = {}
    for report in row["aggregates"].values():
        for name, rank in report.get("ranks", {}).items():
            found[name] = max(rank, found.get(name, 0))
    return found


def _committed(row: dict[str, Any]) -> str:
    """When, and which experts too few trained for the campaign's rule."""
    left = [expert for expert, report in row["aggregates"].items() if report.get("too_few")]
    return (row["committed_at"] or "open") + (f"; left as it was: {', '.join(left)}" if left else "")


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
