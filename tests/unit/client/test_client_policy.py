"""`fedpath-hospital policy`, and an agent whose policy is changed under it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client import agent as agents
from client import agent_data, paid_work
from client.cli import app
from client.errors import ManifestError
from client.home import Home, Settings, create
from client.training.round import train_round
from privacy import keys
from privacy.codes import Refusal
from privacy.ledger.store import Ledger
from tests.unit.client.conftest import House, ask

MakeHouse = Callable[..., House]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))


def run(command: str, home: Home, *words: str) -> Result:
    return CliRunner().invoke(app, ["policy", command, str(home.folder), *words])


def ledger(home: Home) -> Ledger:
    return Ledger(home.ledger, keys.load(home.release_key))


def test_a_change_is_in_the_file_with_its_comments_and_in_the_ledger(home: Home) -> None:
    """Catches a file without its entry, an entry without its file, and comments that are lost."""
    text = home.policy_file.read_text()
    home.policy_file.write_text(
        text.replace("epsilon_budget = 8.0", "epsilon_budget = 8.0  # agreed in March")
    )
    done = run("set", home, "epsilon_budget", "6.5", "campaigns", '["spring"]')
    assert done.exit_code == 0, done.output
    assert "tightens: epsilon_budget: 8.0 -> 6.5" in done.output
    assert "epsilon_budget = 6.5  # agreed in March" in home.policy_file.read_text()
    assert "# What this hospital allows" in home.policy_file.read_text()
    assert home.policy_file.stat().st_mode & 0o777 == 0o600
    (entry,) = ledger(home).entries()
    assert (entry.kind, entry.body["policy"]) == ("policy", home.policy.to_dict())
    assert entry.body["policy"]["campaigns"] == ["spring"]


def test_a_loosening_wants_a_word(home: Home) -> None:
    """Catches a limit that a script raises by a slip."""
    before = home.policy_file.read_bytes()
    refused = run("set", home, "epsilon_budget", "9", "maximum_steps", "10")
    assert refused.exit_code == 2
    assert "loosens: epsilon_budget: 8.0 -> 9" in refused.output
    assert "this loosens epsilon_budget: give --yes" in refused.output
    assert home.policy_file.read_bytes() == before
    assert ledger(home).entries() == []
    assert run("set", home, "epsilon_budget", "9", "--yes").exit_code == 0
    assert home.policy.epsilon_budget == 9.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("epsilon_bugdet", "1"), "did you mean 'epsilon_budget'"),
        (("epsilon_budget", "much"), "must be a number"),
        (("epsilon_budget",), "has no value"),
        (("epsilon_budget", "1", "epsilon_budget", "2"), "is given twice"),
        (("hospital", "south"), "its name stays"),
        (("--unset", "delta"), "missing delta"),
        ((), "give KEY VALUE"),
        (("delta", "1e-2"), "below 1/nominal_patients"),
        (("epsilon_budget", "1 # \n delta = 0.1"), "must be a number"),
    ],
)
def test_a_wrong_change_changes_nothing(home: Home, words: tuple[str, ...], message: str) -> None:
    """Catches a policy that is half written, or adopted and not what any agent takes."""
    before = home.policy_file.read_bytes()
    done = run("set", home, *words, "--yes")
    assert done.exit_code == 2
    assert message in done.output
    assert home.policy_file.read_bytes() == before
    assert ledger(home).entries() == []


def test_a_whole_file_is_taken_and_a_key_left_out(home: Home, tmp_path: Path) -> None:
    """Catches `--file` that merges, and an optional key that can't be removed."""
    new = tmp_path / "new.toml"
    new.write_text(home.policy_file.read_text() + "epsilon_per_day = 1.0\n# ours\n")
    assert run("set", home, "--file", str(new)).exit_code == 0
    assert home.policy_file.read_text() == new.read_text()
    told = json.loads(run("set", home, "--unset", "epsilon_per_day", "--yes", "--json").stdout)
    assert told["loosens"] == {"epsilon_per_day": [1.0, None]}
    assert told["hash"] == home.policy.hash
    assert [entry.kind for entry in ledger(home).entries()] == ["policy", "policy"]


def test_show_tells_file_and_ledger_apart(home: Home) -> None:
    """Catches a hand-edited file that is shown as if it were in force."""
    assert json.loads(run("show", home, "--json").stdout)["recorded"] is False
    ledger(home).adopt(home.policy)
    recorded = home.policy
    home.policy_file.write_text(
        home.policy_file.read_text().replace("maximum_steps = 50", "maximum_steps = 9")
    )
    shown = json.loads(run("show", home, "--json").stdout)
    assert (shown["hash"], shown["file_hash"]) == (recorded.hash, home.policy.hash)
    assert (shown["in_force"]["maximum_steps"], shown["file"]["maximum_steps"]) == (50, 9)
    assert "maximum_steps = 50   <- the file says 9" in run("show", home).output


# --- a running agent


def _set(place: House, *words: str) -> None:
    done = run("set", place.home, *words, "--yes")
    assert done.exit_code == 0, done.output


def kinds(place: House) -> list[str]:
    return [entry.kind for entry in place.ledger().entries() if entry.kind != "release"]


def test_a_running_agent_goes_by_a_changed_policy_from_the_next_plan_on(house: MakeHouse) -> None:
    """Catches an agent that must be started anew, and one that goes by a file that the ledger knows nothing of."""
    place = house()
    agent = place.agent()
    _set(place, "campaigns", '["autumn"]')
    assert ask(agent, "train", place.request(place.plan()))["code"].decode() == Refusal.CAMPAIGN_NOT_ALLOWED
    text = place.home.policy_file.read_text()
    place.home.policy_file.write_text(text.replace('"autumn"', '"spring"'))  # by hand
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
    assert kinds(place)[-5:] == ["policy", "refusal", "policy", "reservation", "spend"]
    assert place.ledger().policy() == place.home.policy.to_dict()


def test_a_round_under_way_ends_under_the_policy_that_it_began_with(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round that is cut off, or judged anew, in its midst."""
    place = house()
    agent = place.agent()

    def meanwhile(*arguments: Any, **others: Any) -> Any:
        _set(place, "campaigns", '["autumn"]', "nominal_patients", "20")
        return train_round(*arguments, **others)

    monkeypatch.setattr(paid_work, "train_round", meanwhile)
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
    assert kinds(place)[-3:] == ["reservation", "policy", "spend"]
    code = ask(agent, "train", place.request(place.plan(2)))["code"].decode()
    assert code == Refusal.CAMPAIGN_NOT_ALLOWED


def test_a_hospitals_router_tells_apart_the_tasks_of_its_policy(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a router that learns of tasks that nobody labelled here."""
    place = house()
    agent, told = place.agent(), []

    def watched(*arguments: Any, **others: Any) -> Any:
        told.append(others["tasks"])
        return train_round(*arguments, **others)

    monkeypatch.setattr(paid_work, "train_round", watched)
    ask(agent, "train", place.request(place.plan()))
    _set(place, "tasks", '["vqa"]')
    ask(agent, "train", place.request(place.plan(2)))
    assert told == [("classification", "vqa"), ("vqa",)]


def test_a_policy_set_while_a_plan_is_judged_has_it_judged_anew(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round that is paid for under the old limits after IT was told that the new ones are in force."""
    place = house()
    agent = place.agent()
    judge = agents.keep_received

    def meanwhile(*arguments: Any) -> None:
        judge(*arguments)
        _set(place, "campaigns", '["autumn"]')

    monkeypatch.setattr(agents, "keep_received", meanwhile)
    assert ask(agent, "train", place.request(place.plan()))["code"].decode() == Refusal.BUSY
    assert ask(agent, "train", place.request(place.plan()))["code"].decode() == Refusal.CAMPAIGN_NOT_ALLOWED
    assert place.ledger().summary().events == ()


def test_a_file_that_is_no_policy_trains_nobody(house: MakeHouse) -> None:
    """Catches an agent that goes on under the last good policy while IT believes the new one to be in force."""
    place = house()
    agent = place.agent()
    text = place.home.policy_file.read_text()
    place.home.policy_file.write_text(text + "campaigns = [\n")
    assert ask(agent, "train", place.request(place.plan()))["code"].decode() == Refusal.INTERNAL
    place.home.policy_file.write_text(text)
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))


def test_a_policy_that_reads_the_manifest_otherwise_has_it_read_anew(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches rows that are trained on though the policy in the ledger leaves them out, after a reading that failed too."""
    place = house()
    agent = place.agent()
    opened, wanted = agent_data.open_data, ["fails", "reads"]

    def reading(*arguments: Any) -> Any:
        if wanted.pop(0) == "fails":
            raise ManifestError("labels.csv", [])
        return opened(*arguments)

    monkeypatch.setattr(agent_data, "open_data", reading)
    _set(place, "skip_bad_rows", "true")
    assert ask(agent, "train", place.request(place.plan()))["code"].decode() == Refusal.INTERNAL
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan(2)))
    assert wanted == []
