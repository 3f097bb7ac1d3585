"""The kits of enrolled hospitals: one signed file each, written anew whenever something in it changes."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from privacy import durable
from privacy.enrolment.default_policy import default_policy
from privacy.enrolment.expiry import Expiry
from privacy.enrolment.kit import Kit
from privacy.errors import EnrolmentFileError, PolicyError
from privacy.policy import Policy
from server.errors import HomeError
from server.home import Home
from server.provision.authority import roots
from server.records import Hospital

KIT_DAYS = 365
POLICY = "policy.toml"
_COMPOSE = Path(__file__).resolve().parents[2] / "compose" / "hospital.yaml"
_NAME_LINE = re.compile(r"(?m)^hospital\s*=.*$")


def write_kits(home: Home, hospitals: Iterable[Hospital], now: datetime) -> list[Path]:
    """Write these hospitals' kits, in the place of earlier ones.  Raises `HomeError` for a policy that no agent takes."""
    key, successions = home.coordinator(), home.store().successions()
    paths = []
    for hospital in hospitals:
        paths.append(_file(home, hospital.name))
        durable.replace(paths[-1], _kit(home, hospital, now).seal(key, successions), 0o644)
    return paths


def _kit(home: Home, hospital: Hospital, now: datetime) -> Kit:
    return Kit(
        home.name,
        hospital.name,
        hospital.release_key,
        home.superlink,
        roots(home.folder),
        _policy(home.folder / POLICY, hospital),
        _COMPOSE.read_text("utf-8") if _COMPOSE.is_file() else None,
        now,
        now + timedelta(days=KIT_DAYS),
    )


def kit_expiry(home: Home, hospital: str, now: datetime) -> Expiry | None:
    """How long the kit that was written last is good; None where there is none of this coordinator's."""
    try:
        kit = Kit.load(_file(home, hospital), home.coordinator().public)
    except EnrolmentFileError:
        return None
    return Expiry.of(f"kit of {hospital}", kit.expires, now)


def _file(home: Home, hospital: str) -> Path:
    return home.folder / "kits" / f"{hospital}.json"


def _policy(path: Path, hospital: Hospital) -> str:
    """What the consortium proposes: its own policy.toml under this hospital's name, or the limits that homes start from."""
    if not path.exists():
        return default_policy(hospital.name, public_data=hospital.evaluator)
    text = path.read_text("utf-8")
    text = _NAME_LINE.sub(f"hospital = {json.dumps(hospital.name)}", text, count=1)
    try:
        Policy.from_dict(tomllib.loads(text))
    except (PolicyError, ValueError) as error:
        raise HomeError(
            f"{path}: {error}: mend what kits propose to hospitals, or remove the file"
        ) from error
    return text
