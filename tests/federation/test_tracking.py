"""Telling trackers: what they are told, read back with their own readers; and what neither crash nor repetition changes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from privacy.accounting import epsilon
from server.campaign import NoisedEvaluations
from server.cli import app
from server.errors import CampaignBusy, StoreError, TrackerError
from server.trackers import tracker_mlflow
from server.trackers.tracked import Tracked, tracked
from server.trackers.tracked_costs import DELTA
from server.trackers.tracked_evaluations import named, round_of
from server.trackers.tracker import Tracker, follow
from server.trackers.tracker_mlflow import EXPERIMENT, PREFIX, MlflowTracker, check_uri
from server.trackers.tracker_tensorboard import TensorBoardTracker
from tests.documented import claim
from tests.federation.simulator import Faults
from tests.federation.test_rounds import CAMPAIGN, GRPO, MECHANISM, SFT, World, world

COMMANDS = claim("docs/trackers.md", "fedpath-consortium")
OFFERS = {"minimum_evaluation_noise": 0.5}
TWO_STAGES = replace(
    CAMPAIGN, stages=(SFT, GRPO), evaluate="stages", noised_evaluation=NoisedEvaluations(noise_multiplier=2.0)
)
# Every name that a figure may have.
SCALE, TASK, WHO = r"(roi|wsi)", r"(classification|detection|segmentation|vqa)", r"(north|south|west|east)"
NAMES = re.compile(
    rf"round|attempts|hospitals|bytes(/{WHO})?|seconds/(round|gather|wait|aggregate)"
    rf"|verdicts/[a-z-]+|epsilon(_after_evaluation)?/{WHO}"
    rf"|drift/(scale/{SCALE}|task/{TASK})/(signal_cosine|(norm|cosine|signal_cosine)/{WHO})"
    rf"|public/{SCALE}/{TASK}/accuracy(/(low|high|n))?|noised/{SCALE}/{TASK}/(pooled|{WHO})(/(low|high))?"
)
# What a hospital may put into an answer, and what must not come out at a tracker.
PLANTED = ("DOE-00001-JANE", "MRN-north-0000007", "/slides/north-00001-0.svs", "loss=0.1234567")

Held = Counter[tuple[str, int, float]]


def told(here: World) -> Tracked:
    return tracked(here.store, here.home.name, "spring")


def history(uri: str) -> Held:
    """All that MLflow holds of the one campaign."""
    client, run = MlflowClient(tracking_uri=uri), run_of(uri)
    return Counter(
        (name, metric.step, metric.value)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    )


def run_of(uri: str) -> Any:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def events(folder: Path) -> Held:
    """All that TensorBoard holds of the one campaign."""
    (campaign,) = folder.iterdir()
    found = EventAccumulator(str(campaign), {"scalars": 0, "tensors": 0}, purge_orphaned_data=False).Reload()
    return Counter((t, e.step, e.value) for t in found.Tags()["scalars"] for e in found.Scalars(t))


def wanted(here: World) -> Held:
    return Counter((f.name, f.step, f.value) for f in told(here).figures)


def same(found: Held, here: World) -> None:
    """Each figure is there once; TensorBoard keeps values in 32 bits."""
    expected = wanted(here)
    assert {key[:2]: count for key, count in found.items()} == dict.fromkeys([k[:2] for k in expected], 1)
    values = {key[:2]: key[2] for key in found}
    assert all(values[name, step] == pytest.approx(value, rel=1e-6) for name, step, value in expected)


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's, made once: its migrations take seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty_mlflow: Path, tmp_path: Path) -> str:
    """A fresh database of MLflow's."""
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="module")
def spring(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A campaign of two stages with every kind of figure: one hospital forges, one answers with what it must not tell."""
    folder = tmp_path_factory.mktemp("spring")
    offering = {"north": OFFERS, "south": OFFERS}
    here = world(folder, "north", "south", "west", "east", evaluator=True, **offering)
    here.hospitals["west"].faults = Faults(forged=True)
    south = here.hospitals["south"]
    answer = south.answer

    def telling(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        return answer(method, parts) | {f"release/{text}": text.encode() for text in PLANTED}

    def cursing(parts: dict[str, bytes]) -> dict[str, bytes]:
        return {"code": PLANTED[0].encode()}

    south.answer = telling  # type: ignore[method-assign]
    here.hospitals["east"]._train = cursing  # type: ignore[assignment, method-assign]
    here.run(replace(TWO_STAGES, quorum=1))
    return here


def test_what_is_told_is_what_the_store_says(spring: World) -> None:
    """Catches a figure of another round or hospital, an interval turned round, and an epsilon that is not the accountant's."""
    figures = {(f.name, f.step): f.value for f in told(spring).figures}
    shown = spring.shown()
    assert len(figures) == len(told(spring).figures)
    for row, step in zip(shown["evaluations"], (0, 2, 3), strict=True):
        name = f"public/{row['scale']}/{row['task']}/{row['metric']}"
        low, high = row["ci95"]
        assert [figures[name + k, step] for k in ("", "/low", "/high", "/n")] == [row["mean"], low, high, 9]
    for point in shown["noised_evaluations"]:
        for kind in point["pooled"]:
            name = f"noised/{kind['scale']}/{kind['task']}/pooled"
            assert figures[name, point["round"]] == kind["mean"]
            assert [figures[name + k, point["round"]] for k in ("/low", "/high")] == kind["ci95"]
    for row in shown["rounds"]:
        step, faults = row["number"], Counter(v["fault"] or "accepted" for v in row["verdicts"])
        assert figures["bytes", step] == sum(ask["bytes"] for ask in row["asks"]) > 0
        assert figures["seconds/wait", step] == row["seconds"]["wait"]
        assert figures["verdicts/accepted", step] == faults["accepted"] > 0
        assert figures["verdicts/unknown-key", step] == faults["unknown-key"] > 0
        for expert, report in row["aggregates"].items():
            for hospital, agreement in report["drift"]["hospitals"].items():
                assert figures[f"drift/{expert}/norm/{hospital}", step] == agreement["norm"]
    training, evaluation = (
        MECHANISM.event(),
        replace(MECHANISM.event(), noise_multiplier=2.0, sampling_rate=1.0, steps=1),
    )
    history = [training, training, evaluation, training, evaluation]
    spent = [epsilon(history[:count], DELTA) for count in (1, 2, 3, 4, 5)]
    names = ("", "", "_after_evaluation", "", "_after_evaluation")
    paid = [figures[f"epsilon{n}/north", s] for n, s in zip(names, (1, 2, 2, 3, 3), strict=True)]
    assert paid == pytest.approx(spent)
    assert ("epsilon/west", 3) not in figures  # nothing of it was accepted


def test_nothing_else_is_told(spring: World, tmp_path: Path, uri: str) -> None:
    """Catches a name outside of the closed set, and what a hospital planted, in anything that a tracker wrote."""
    said = told(spring)
    assert [f.name for f in said.figures if not NAMES.fullmatch(f.name)] == []
    assert "verdicts/other" in {f.name for f in said.figures}  # where it was planted
    for tracker in (MlflowTracker(uri), TensorBoardTracker(tmp_path / "board")):
        tracker.write(said)
    assert PLANTED[0] in json.dumps(spring.shown()["rounds"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    for file in files:
        data = file.read_bytes()
        assert not [text for text in (*PLANTED, str(spring.home.folder)) if text.encode() in data], file


def test_mlflow_holds_the_campaign_as_its_own_client_reads_it(spring: World, uri: str) -> None:
    """Catches a figure that is lost on the way or written twice, a definition that is not told, a run that looks alive."""
    assert MlflowTracker(uri).write(told(spring)) == len(told(spring).figures)
    same(history(uri), spring)
    assert MlflowTracker(uri).write(told(spring)) == 0
    same(history(uri), spring)
    run = run_of(uri)
    assert (run.info.run_name, run.info.status) == ("spring", "FINISHED")
    assert run.data.params["sft.mechanism.noise_multiplier"] == "1.0"
    assert run.data.params["grpo.experts"] == "task/classification, task/detection"
    tags = {key: value for key, value in run.data.tags.items() if key.startswith(f"{PREFIX}experts/")}
    assert tags == {f"{PREFIX}experts/{name}": digest for name, digest in spring.shown()["experts"].items()}


def test_tensorboard_holds_the_campaign_as_its_own_reader_reads_it(spring: World, tmp_path: Path) -> None:
    """Catches a figure that is lost on the way or written twice, and texts that grow with every call."""
    board = tmp_path / "board"
    assert TensorBoardTracker(board).write(told(spring)) == len(told(spring).figures)
    files = sorted(board.rglob("*"))
    same(events(board), spring)
    assert TensorBoardTracker(board).write(told(spring)) == 0
    assert sorted(board.rglob("*")) == files
    found = EventAccumulator(str(files[0]), {"tensors": 0}).Reload()
    (definition,), (hashes,) = (
        [event.tensor_proto.string_val[0].decode() for event in found.Tensors(tag)]
        for tag in ("definition", "hashes")
    )
    assert "| sft.learning\\_rate | 0.01 |" in definition
    assert all(digest in hashes for digest in spring.shown()["experts"].values())


def test_mlflow_cut_off_between_batches_goes_on(
    spring: World, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a second telling that begins anew, or one that takes a run that was begun for one that is whole."""
    monkeypatch.setattr(tracker_mlflow, "_METRICS", 40)
    first = MlflowTracker(uri)
    write, calls = first._client.log_batch, []

    def killed(*args: Any, **kinds: Any) -> None:
        calls.append(kinds)
        if sum("metrics" in each for each in calls) == 3:
            raise KeyboardInterrupt
        write(*args, **kinds)

    monkeypatch.setattr(first._client, "log_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        first.write(told(spring))
    assert history(uri).total() == 80
    assert MlflowTracker(uri).write(told(spring)) == len(told(spring).figures) - 80
    same(history(uri), spring)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97])
def test_tensorboard_cut_off_in_a_record_goes_on(spring: World, tmp_path: Path, kept: float) -> None:
    """Catches half a record that hides what is written after it, and whole ones that are written again."""
    board = tmp_path / "board"
    TensorBoardTracker(board).write(told(spring))
    (file,) = [path for path in board.rglob("*") if path.is_file()]
    file.write_bytes(file.read_bytes()[: round(kept * file.stat().st_size)])
    before = events(board).total()
    assert TensorBoardTracker(board).write(told(spring)) == len(told(spring).figures) - before > 0
    same(events(board), spring)


def test_followed_it_ends_as_it_would_afterwards(tmp_path: Path, uri: str) -> None:
    """Catches a figure that changes once it was told, one of a round that is not committed, and an end that is not seen."""
    here = world(tmp_path, "north", "south", evaluator=True, north=OFFERS, south=OFFERS)
    board = tmp_path / "board"
    seen: list[int] = []

    def before_each_ask(call: Callable[..., dict[str, bytes]]) -> Callable[..., dict[str, bytes]]:
        def asked(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
            if told(here).state == "running" and method in ("train", "evaluate_noised"):
                seen.append(next(follow(lambda: told(here), trackers, _never))[1])
            return call(method, parts)

        return asked

    trackers: list[Tracker] = [MlflowTracker(uri), TensorBoardTracker(board)]
    north = here.hospitals["north"]
    north.answer = before_each_ask(north.answer)  # type: ignore[method-assign]
    here.run(TWO_STAGES)
    assert len(seen) == 5
    assert sum(count > 0 for count in seen) >= 3
    assert [said.state for said, _ in follow(lambda: told(here), trackers, _never)] == ["done"]
    same(history(uri), here)
    same(events(board), here)
    assert not MlflowTracker(uri).write(told(here))


def _never(seconds: float) -> None:
    raise AssertionError("waited for a campaign that has ended")


def test_two_campaigns_of_one_name_are_two_runs(spring: World, tmp_path: Path, uri: str) -> None:
    """Catches figures of a rehearsal among those of the campaign that was begun anew under its name."""
    again = world(tmp_path, "north", "south", "west")
    again.run()
    for here in (spring, again):
        MlflowTracker(uri).write(told(here))
        TensorBoardTracker(tmp_path / "board").write(told(here))
    assert len(list((tmp_path / "board").iterdir())) == 2
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.mark.parametrize(
    "uri",
    [
        "https://ann:swordfish@mlflow.example",
        "https://swordfish@mlflow.example",
        "postgresql://ann:swordfish@db/mlflow",
        "postgresql://db/mlflow?user=ann&password=swordfish",
        "https://mlflow.example/?access_token=swordfish",
        "https://ann:@mlflow.example",
        "https://[swordfish",
    ],
)
def test_a_uri_with_credentials_is_refused_and_not_repeated(uri: str) -> None:
    """Catches a password that a process list and MLflow's own errors would show."""
    with pytest.raises(TrackerError) as refused:
        MlflowTracker(uri)
    assert "swordfish" not in str(refused.value)


def test_a_uri_without_is_taken() -> None:
    """Catches a database's user taken for a password."""
    for uri in ("https://mlflow.example:5000/path", "postgresql://ann@db/mlflow", "sqlite:////srv/mlflow.db"):
        check_uri(uri)


@pytest.mark.parametrize(("library", "flag"), [("mlflow", "--mlflow"), ("tensorboard", "--tensorboard")])
def test_a_library_that_is_not_installed_is_named(
    spring: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, flag: str, uri: str
) -> None:
    """Catches a traceback where the extra is missing, and an import of it by whoever does not ask for it."""
    monkeypatch.setitem(sys.modules, library, None)
    result = CliRunner().invoke(app, ["track", str(spring.home.folder), "spring", flag, uri])
    assert result.exit_code == 2
    assert "`pip install -e '.[trackers]'` in FedPath's checkout" in result.stderr
    other = ["--tensorboard", str(tmp_path / "b")] if library == "mlflow" else ["--mlflow", uri]
    assert CliRunner().invoke(app, ["track", str(spring.home.folder), "spring", *other]).exit_code == 0


def test_the_command_says_what_it_wrote(
    spring: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a command that fails where the functions do not, or leaves files open to others."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    board, home = tmp_path / "board", str(spring.home.folder)
    command = ["track", home, "spring", "--tensorboard", str(board), "--follow", "--json"]
    first = json.loads(CliRunner().invoke(app, command).stdout)
    assert first == {
        "campaign": "spring",
        "state": "done",
        "through": 3,
        "written": len(told(spring).figures),
    }
    assert json.loads(CliRunner().invoke(app, command).stdout)["written"] == 0
    same(events(board), spring)
    assert board.stat().st_mode & 0o077 == 0
    for arguments, what in (
        ([home, "spring"], "--mlflow URI or --tensorboard FOLDER"),
        ([home, "autumn", "--tensorboard", str(board)], "never begun"),
        ([home, "../spring/x", "--tensorboard", str(board)], "never begun"),
        ([home, "spring", "--mlflow", "http://127.0.0.1:9"], "not written twice"),
    ):
        result = CliRunner().invoke(app, ["track", *arguments])
        assert result.exit_code == 2
        assert what in result.stderr
        assert "Traceback" not in result.output


def test_one_tells_at_a_time(spring: World) -> None:
    """Catches two who both find a figure missing, and write it twice."""
    with spring.home.only_tracker("spring"), pytest.raises(CampaignBusy), spring.home.only_tracker("spring"):
        pass
    with pytest.raises(StoreError, match="never begun"):
        tracked(spring.store, "consortium", "autumn")


def test_names_are_a_trackers_and_points_are_rounds() -> None:
    """Catches metrics of two names that become one, and an evaluation after a round that is put at its stage's end."""
    assert named("accuracy or token F1") == "accuracy or token F1"
    odd = ("a/b", "a_b", "a:b", "a\u00e9b")
    assert len({named(text) for text in odd}) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z0-9 ._-]+", named(text)) for text in odd)
    assert [round_of(point, {"base": 0, "sft": 2}) for point in ("base", "sft", "round-1")] == [0, 2, 1]


def test_the_page_tells_of_every_figure_and_its_commands_run(
    spring: World, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an option or a figure that the page does not have, or has otherwise."""
    page = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text("utf-8")
    named_there = {name.split("/")[0] for name in re.findall(r"`([a-z_]+)(?=[`/])", page)}
    assert {figure.name.split("/")[0] for figure in told(spring).figures} <= named_there
    monkeypatch.chdir(tmp_path)
    (tmp_path / "consortium").symlink_to(spring.home.folder)
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        words = [{"https://mlflow.example": uri}.get(word, word) for word in command.arguments]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    same(history(uri), spring)
    same(events(tmp_path / "boards"), spring)
