"""Replay: a campaign's rounds recomputed from what the consortium kept, and what shows when someone touched it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app as audit
from privacy import canonical, tensors
from privacy.audit.findings import Code
from privacy.keys import Purpose
from privacy.ledger import parts
from privacy.release import MAGIC, PAYLOAD
from server.campaign import Campaign
from server.cli import app as consortium
from server.errors import RoundFailed
from tests.audit_books import Body
from tests.federation.replay_cases import (
    CASES,
    EXPERTS,
    MOVED,
    NAMES,
    PLAIN,
    RECIPES,
    Case,
    Handed,
    hand_over,
    not_kept,
    swapped,
    untouched,
)
from tests.federation.simulator import Faults
from tests.federation.test_rounds import world
from tests.federation.test_sums import NAMES as SUMMED_NAMES
from tests.federation.test_sums import SUMMING, acquainted


@pytest.mark.parametrize("campaign", RECIPES.values(), ids=RECIPES.keys())
def test_an_honest_campaign_is_recomputed_bit_for_bit(campaign: Campaign, tmp_path: Path) -> None:
    """Catches a journal or an export that lacks what a recipe needs, and an auditor who reckons otherwise."""
    here = world(tmp_path, *NAMES)
    here.run(campaign)
    handed = hand_over(here, tmp_path / "handed")
    before = {path: path.stat().st_mtime_ns for path in handed.given.rglob("*")}
    status, found = handed.replayed()
    assert (status, found["valid"], found["findings"]) == (0, True, [])
    assert [(r["round"], sorted(r["same"])) for r in found["rounds"]] == [
        (n, sorted(stage.experts))
        for n, stage in enumerate((s for s in campaign.stages for _ in range(s.rounds)), 1)
    ]
    assert {path: path.stat().st_mtime_ns for path in handed.given.rglob("*")} == before


def test_rounds_with_records_in_parts_are_recomputed_and_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an export, a replay or a pruning that looks at entries where it should look at records."""
    monkeypatch.setattr(parts, "LETTERS", 500)
    here = world(tmp_path, *NAMES)
    here.run(MOVED)
    assert here.store.prune("spring", 1) == len(NAMES) * len(EXPERTS)
    handed = hand_over(here, tmp_path / "handed")
    assert sum(entry.kind == parts.PART for entry in handed.entries()) > 4
    status, found = handed.replayed()
    assert (status, found["valid"], found["findings"]) == (0, True, [])
    assert [sorted(row["same"]) for row in found["rounds"]] == [[], sorted(EXPERTS)]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Handed:
    """Two rounds with weights by noise and momentum."""
    folder = tmp_path_factory.mktemp("honest")
    here = world(folder, *NAMES)
    here.run(MOVED)
    return hand_over(here, folder / "handed")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_tampering_is_named(case: Case, honest: Handed, tmp_path: Path) -> None:
    """Catches a replay that believes the coordinator: whatever was touched must be found, and told where it is."""
    shutil.copytree(honest.folder, tmp_path / "handed")
    handed = Handed(tmp_path / "handed", honest.coordinator, honest.hospitals)
    case.tamper(handed)
    status, found = handed.replayed()
    assert (status, found["valid"]) == (1, False)
    assert {finding["code"] for finding in found["findings"]} >= case.codes, found["findings"]
    if case.round is not None:
        first = next(f for f in found["findings"] if f["code"] in case.codes and "round" in f)
        assert (first["round"], first["expert"], first["tensor"]) == (case.round, case.expert, case.tensor), (
            first
        )
    if case.tensor is not None:
        assert f"first in {case.tensor}, value " in first["text"]


def test_one_round_is_recomputed_alone(honest: Handed) -> None:
    """Catches a selection that recomputes another round, or takes nothing for all right."""
    status, found = honest.replayed("--campaign", "spring", "--round", "2")
    assert (status, [r["round"] for r in found["rounds"]]) == (0, [2])


@pytest.mark.parametrize("options", [("--round", "99"), ("--campaign", "autumn")], ids=" ".join)
def test_nothing_recomputed_is_never_said_to_be_valid(honest: Handed, options: tuple[str, ...]) -> None:
    """Catches a script that reads a verdict, in JSON or in words, where no round was looked at."""
    key = honest.folder / "coordinator.pub"
    key.write_bytes(honest.coordinator.public.to_pem())
    given = ["replay", str(honest.journal), str(honest.given), "--coordinator", str(key), *options]
    for form in ([], ["--json"]):
        said = CliRunner().invoke(audit, [*given, *form])
        assert (said.exit_code, said.stdout) == (2, "")
        assert said.stderr.startswith("error: there was nothing to recompute")


def test_rounds_that_were_not_kept_or_were_pruned_are_said_to_be_left_out(tmp_path: Path) -> None:
    """Catches a round that passes for recomputed while there is nothing to recompute it from."""
    here = world(tmp_path, *NAMES)
    here.run(PLAIN)
    here.run(replace(PLAIN, name="autumn", keep_releases=False))
    pruned = CliRunner().invoke(consortium, ["prune", str(here.home.folder), "spring", "--last", "1"])
    assert (pruned.exit_code, "removed 6 releases" in pruned.output) == (0, True), pruned.output
    handed = hand_over(here, tmp_path / "handed")
    status, found = handed.replayed()
    said = {(r["campaign"], r["round"]): r["left_out"] for r in found["rounds"]}
    assert (status, found["findings"]) == (0, [])
    assert said["spring", 2] is None
    assert "removed by the consortium" in said["spring", 1]
    assert "not kept" in said["autumn", 1]
    assert handed.replayed("--campaign", "autumn") == (2, {})


def test_what_differs_in_a_round_that_was_not_kept_is_told_beside_why_it_was_left_out(
    honest: Handed, tmp_path: Path
) -> None:
    """Catches a finding that is lost where nothing was recomputed, and a round that passes for recomputed for having one."""
    shutil.copytree(honest.folder, tmp_path / "handed")
    handed = Handed(tmp_path / "handed", honest.coordinator)
    not_kept(untouched)(handed)
    status, found = handed.replayed("--round", "2")
    (row,) = found["rounds"]
    assert (status, row["left_out"], row["same"]) == (1, "its releases were not kept", [])
    assert [(d["code"], d["expert"]) for d in row["differences"]] == [(Code.STATE_DIFFERS, "task/vqa")]
    key = str(handed.folder / "coordinator.pub")
    said = CliRunner().invoke(audit, ["replay", str(handed.journal), str(handed.given), "--coordinator", key])
    assert (said.exit_code, "not recomputed: its releases were not kept; 1 findings" in said.stdout) == (
        1,
        True,
    )


def test_an_entry_from_before_releases_were_kept_is_left_out_and_no_finding(
    honest: Handed, tmp_path: Path
) -> None:
    """Catches checks of a round without releases that call the oldest entries malformed for what they never said."""
    shutil.copytree(honest.folder, tmp_path / "handed")
    handed = Handed(tmp_path / "handed", honest.coordinator)

    def early(body: Body) -> None:
        del body["kept"], body["aggregates"]

    handed.rewrite_round(2, early)
    _, found = handed.replayed("--round", "2")
    (row,) = found["rounds"]
    assert (row["left_out"], row["differences"]) == ("its releases were not kept", [])


def test_a_sum_that_failed_leaves_every_expert_as_it_was(tmp_path: Path) -> None:
    """Catches a coordinator that moves an expert in a round which it says came to no sum, and an honest such round that is
    found at fault.
    """
    here = acquainted(tmp_path, *SUMMED_NAMES)
    for name in ("west", "south"):
        here.hospitals[name].faults = Faults(lost_at="reveal")
    with pytest.raises(RoundFailed, match="over without a sum"):
        here.run(SUMMING)
    handed = hand_over(here, tmp_path / "handed")
    status, _ = handed.replayed()
    assert status == 2, "nothing to recompute, and nothing found"

    def moved(body: Body) -> None:
        body["states"]["scale/roi"] = canonical.digest(b"another state")

    handed.rewrite_round(1, moved)
    status, found = handed.replayed()
    assert (status, [(f["code"], f["expert"]) for f in found["findings"]]) == (
        1,
        [(Code.STATE_DIFFERS, "scale/roi")],
    )


def test_a_release_counts_under_the_key_of_its_time_alone(tmp_path: Path) -> None:
    """Catches a replay that refuses what was signed before a new key, or takes what an old one signs after its time."""
    here = world(tmp_path, *NAMES)
    here.clock.sleep(20 * 365 * 86400.0)  # past the real time at which the hospitals were enrolled
    here.run(replace(PLAIN, name="autumn"))
    opened, old = here.clock.now().isoformat(timespec="milliseconds"), here.hospitals["north"].key
    here.clock.sleep(60)
    here.store.replace_key("north", [here.hospitals["north"].rotate()])
    here.clock.sleep(60)
    here.run(PLAIN)
    handed = hand_over(here, tmp_path / "handed")
    assert handed.replayed()[0] == 0

    payload = handed.release(1, "north").read_bytes()[PAYLOAD:]
    parts, header = tensors.deserialize(payload, 10**6)
    header = header.replace(here.hospitals["north"].key.public.fingerprint, old.public.fingerprint)
    payload = tensors.serialize(parts, header)
    swapped(handed, 1, "north", MAGIC + old.sign(payload, Purpose.RELEASE) + payload)
    status, found = handed.replayed()
    assert (status, [f["code"] for f in found["findings"]]) == (1, [Code.REFUSED_RELEASE])
    assert "unknown-key" in found["findings"][0]["text"]
    handed.rewrite_round(
        1, lambda body: body.update(opened=opened)
    )  # before the new key: the old one's word counted
    assert handed.replayed()[0] == 0


def test_an_export_hands_over_all_but_what_is_lost_and_says_what(tmp_path: Path) -> None:
    """Catches an export that passes for whole, or that one lost file keeps from being written."""
    here = world(tmp_path, *NAMES)
    here.run(PLAIN)
    (lost, *others) = sorted((here.home.folder / "releases").iterdir())
    lost.unlink()
    command = ["export", str(here.home.folder), str(tmp_path / "j"), "--releases", str(tmp_path / "given")]
    result = CliRunner().invoke(consortium, command)
    assert (result.exit_code, lost.name in result.stderr) == (1, True)
    assert {path.name for path in (tmp_path / "given" / "releases").iterdir()} == {p.name for p in others}
    again = CliRunner().invoke(consortium, [*command[:2], str(tmp_path / "k"), *command[3:]])
    assert (again.exit_code, "name a new folder" in again.stderr) == (2, True)
