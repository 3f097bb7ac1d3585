"""A consortium's store of many hospitals and rounds, written in bulk: what a page has to bear, without training anything."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy import canonical, keys
from privacy.experts import EXPERTS
from privacy.mechanism import Mechanism
from server import journal, tables
from server.campaign import Campaign, Train, plan_for
from server.home import Home
from server.journal import Kind
from server.provision.kits import write_kits
from server.records import Hospital
from strategies.definition import Stage

NAME = "autumn"
_MECHANISM = Mechanism(
    clip_norm=1.0, noise_multiplier=2.0, sampling_rate=0.02, steps=4, samples_per_patient=4
)
_CODE, _BASE = (hashlib.sha256(word).hexdigest() for word in (b"code", b"base"))
_ROUND_S = 600.0
_SILENT = 17  # one in so many asks has no answer, one release in so many is refused


def campaign_of(rounds: int) -> Campaign:
    """SFT for four fifths of the rounds, two at least, then GRPO."""
    first = rounds * 4 // 5
    grpo = Stage(
        "grpo",
        rounds - first,
        ("task/classification", "task/detection"),
        0.01,
        _MECHANISM,
        rollouts=4,
        max_answer_tokens=32,
    )
    sft = Stage("sft", first, ("scale/roi", "scale/wsi"), 0.01, _MECHANISM)
    return Campaign(NAME, 7, _BASE, 2, 4.0, "experts", 2, 3600.0, "stages", (sft, grpo))


def fill(folder: Path, hospitals: int, rounds: int) -> Home:
    """A home in `folder` whose campaign has all of its rounds behind it but the last, which is under way."""
    home = Home.create(folder / "home", "consortium", "127.0.0.1", 19092)
    store, now = home.store(), datetime.now(UTC)
    for number in range(hospitals + 1):
        name = f"hospital-{number:02}" if number else "judge"
        store.enrol(_hospital(folder, name))
    write_kits(home, store.hospitals().values(), now)
    names = [name for name in store.hospitals() if name != "judge"]
    campaign, states = campaign_of(rounds), {name: _digest(name, 0) for name in EXPERTS}
    begun = now - timedelta(seconds=_ROUND_S * rounds)
    with store._database.transaction() as connection:
        connection.execute(tables.hospitals.update().values(experts=list(EXPERTS), code_hash=_CODE))
        row = {"name": NAME, "definition": canonical.encode(campaign.defined(states).to_dict())}
        row |= {"rounds": rounds, "begun_at": _iso(begun), "state": "running", "run_id": "1"}
        connection.execute(
            tables.campaigns.insert(),
            [{**row, "changed_at": _iso(now), "doing": f"round {rounds} of {rounds}"}],
        )
        start = _round(0, "start", b"", begun, states)
        connection.execute(tables.rounds.insert(), [start])
        before = 0
        for stage in campaign.stages:
            for of_stage in range(1, stage.rounds + 1):
                number = before + of_stage
                plan = plan_for(campaign, Train(number, of_stage, stage), states)
                at = begun + timedelta(seconds=_ROUND_S * (number - 1))
                ended = number < rounds
                if ended:
                    states = {**states, **{name: _digest(name, number) for name in stage.experts}}
                made = _round(number, stage.kind, plan.to_bytes(), at, states if ended else None)
                connection.execute(tables.rounds.insert(), [made])
                connection.execute(tables.asks.insert(), _asks(number, at, names, ended=ended))
                if not ended:
                    continue
                verdicts = _verdicts(number, names, stage.experts)
                connection.execute(tables.verdicts.insert(), verdicts)
                reports = [
                    {"campaign": NAME, "number": number, "expert": e, **_report(names)} for e in stage.experts
                ]
                connection.execute(tables.aggregates.insert(), reports)
                body = {"campaign": NAME, "number": number, "states": states, "verdicts": verdicts}
                journal.record(connection, Kind.ROUND, at, body, home.coordinator())
            before += stage.rounds
        for place, point in enumerate(("base", *(stage.kind for stage in campaign.stages))):
            connection.execute(tables.evaluations.insert(), _scores(point, place))
    return home


def _hospital(folder: Path, name: str) -> Hospital:
    node = ec.generate_private_key(ec.SECP384R1()).public_key()
    public = node.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Hospital(name, keys.generate(folder / f"{name}.key").public, public, name == "judge")


def _round(
    number: int, stage: str, plan: bytes, at: datetime, states: dict[str, str] | None
) -> dict[str, object]:
    end = None if states is None else _iso(at + timedelta(seconds=_ROUND_S - 20))
    took = None if states is None else {"gather": 5.0, "wait": 560.0, "aggregate": 12.0}
    about = {"campaign": NAME, "number": number, "stage": stage, "plan": plan, "signature": b""}
    return {
        **about,
        "opened_at": _iso(at),
        "attempts": 1,
        "committed_at": end,
        "states": states,
        "seconds": took,
    }


def _asks(number: int, at: datetime, names: list[str], *, ended: bool) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for place, name in enumerate(names):
        answer: str | None = "no-answer" if (number + place) % _SILENT == 0 else "releases"
        answered: str | None = _iso(at + timedelta(seconds=120 + 7 * place))
        if not ended and place % 3:
            answer = answered = None
        about = {"campaign": NAME, "number": number, "attempt": 1, "hospital": name, "asked_at": _iso(at)}
        size = 2_000_000 if answer == "releases" else None
        rows.append({**about, "answered_at": answered, "answer": answer, "bytes": size})
    return rows


def _verdicts(number: int, names: list[str], experts: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        {
            "campaign": NAME,
            "number": number,
            "hospital": name,
            "expert": expert,
            "fault": "norm-too-large" if (number + place) % _SILENT == 1 else None,
            "digest": _digest(f"{name} {expert}", number),
            "bytes": 1_000_000,
            "noise_std": 0.01,
        }
        for place, name in enumerate(names)
        if (number + place) % _SILENT
        for expert in experts
    ]


def _report(names: list[str]) -> dict[str, object]:
    agreement = {"norm": 1.2, "cosine": 0.1, "signal_cosine": 0.6}
    drift = {"hospitals": dict.fromkeys(names, agreement), "signal_cosine": 0.6}
    shares = dict.fromkeys(names, 1 / len(names))
    return {
        "report": {"hospitals": names, "too_few": False, "shares": shares, "drift": drift},
        "memory": None,
    }


def _scores(point: str, place: int) -> list[dict[str, object]]:
    return [
        {
            "campaign": NAME,
            "point": point,
            "scale": scale,
            "task": task,
            "metric": "score",
            "mean": 0.4 + 0.1 * place,
            "low": 0.35 + 0.1 * place,
            "high": 0.45 + 0.1 * place,
            "n": 60,
            "further": False,
            "place": 8 * place + n,
        }
        for n, (scale, task) in enumerate(
            (scale, task)
            for scale in ("roi", "wsi")
            for task in ("classification", "detection", "segmentation", "vqa")
        )
    ]


def _digest(words: str, number: int) -> str:
    return hashlib.sha256(f"{words} {number}".encode()).hexdigest()


def _iso(at: datetime) -> str:
    return at.isoformat()
