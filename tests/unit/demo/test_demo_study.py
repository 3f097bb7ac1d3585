"""What the study makes of its runs' files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demo import study
from demo.recipe import BUDGET, DELTA, STUDY, events
from demo.study_runs import LEVELS, RUNS, Job
from demo.study_table import Results, arms_at, differences_at, page, read_runs
from privacy.accounting import epsilon

SEEDS = (1, 2)
ROWS = [("roi", "detection"), ("roi", "segmentation"), ("wsi", "vqa")]
FORMS = [
    f"{stage} {mode}{learned}"
    for stage in ("base", "sft", "grpo")
    for mode in ("direct", "thinking")
    for learned in ("", " learned")
]


def _write(out: Path, seed: int, run: str) -> None:
    """Ten patients with two answers each; a run's place, a form's place and the seed are all in its means."""

    def row(scale: str, task: str, form: str) -> dict[str, object]:
        mean = 0.2 + 0.01 * list(RUNS).index(run) + 0.02 * FORMS.index(form) + 0.001 * seed
        patients = {f"p{i}": [2 * mean + (0.1 if i % 2 else -0.1), 2] for i in range(10)}
        return {"scale": scale, "task": task, "metric": "m", "patients": patients}

    shares = {"roi": {"detection": 0.5, "segmentation": 0.25}, "wsi": {"vqa": 0.75}}
    found = {
        "epsilon": RUNS[run].epsilon,
        "forms": {form: [row(*of, form) for of in ROWS] for form in FORMS},
        "rewards": {"detection": [0.1 * i for i in range(20)]},
        "router": {"of the manifests": shares, "free": shares},
    }
    Job(run, seed, out, out).write(found)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for seed in SEEDS:
        for run in RUNS:
            _write(tmp_path, seed, run)
    return tmp_path


def test_means_and_differences_are_those_of_the_files(out: Path) -> None:
    """Catches an arm that reads another run or form of answer, and differences with the wrong sign."""
    results = Results(read_runs(out, SEEDS))
    assert results.seeds == list(SEEDS)
    for level in LEVELS:
        for arm in arms_at(level).values():
            runs = [list(RUNS).index(run) for run in arm.runs]
            mean = 0.2 + 0.01 * sum(runs) / len(runs) + 0.02 * FORMS.index(arm.form) + 0.0015
            assert results.mean(arm) == pytest.approx(mean)
            assert results.mean(arm, ("wsi", "vqa")) == pytest.approx(mean)
        for more, less in differences_at(level).values():
            value, low, high = results.difference(more, less)
            assert value == pytest.approx(results.mean(more) - results.mean(less))
            assert low - 1e-9 <= value <= high + 1e-9


def test_a_difference_is_taken_patient_by_patient(out: Path) -> None:
    """Catches arms resampled apart: here every patient gains the same, so that nothing is left to chance."""
    results = Results(read_runs(out, SEEDS))
    more, less = differences_at("epsilon 8")["SFT + GRPO over SFT"]
    _, low, high = results.difference(more, less)
    assert high - low == pytest.approx(0.0, abs=1e-9)
    job = Job(more.runs[0], 1, out, out)
    found = job.read()
    for row in found["forms"][more.form]:
        row["patients"]["p3"][0] += 1.0
    job.write(found)
    _, low, high = Results(read_runs(out, SEEDS)).difference(more, less)
    assert high - low > 0.02


def test_a_seed_that_is_not_done_counts_where_both_arms_are(out: Path) -> None:
    """Catches means over different seeds for different arms, a difference of arms from different seeds, and one that leaves
    a finished pair of runs out.
    """
    Job("pooled", 2, out, out).file.unlink()
    results = Results(read_runs(out, SEEDS))
    assert results.seeds == [1]
    assert not results.missing
    arms = arms_at("no privacy")
    declared, sft = arms["scale and task, declared (SFT + GRPO)"], arms["scale experts only (SFT)"]
    assert results.seeds_of(declared, sft) == [1, 2]
    assert results.seeds_of(arms["pooled, SFT"], sft) == [1]
    job = Job(sft.runs[0], 2, out, out)
    found = job.read()
    for row in found["forms"][sft.form]:
        for answers in row["patients"].values():
            answers[0] -= 0.2  # 0.1 an answer, at one of two seeds
    job.write(found)
    before, after = (Results(read_runs(out, seeds)) for seeds in ((1,), SEEDS))
    gained = after.difference(declared, sft)[0] - before.difference(declared, sft)[0]
    assert gained == pytest.approx(0.05)
    assert after.mean(sft) == before.mean(sft)


def test_of_a_first_seed_what_has_ended_is_told_and_the_rest_is_named(out: Path) -> None:
    """Catches a half-done study that shows a mean over fewer hospitals, or hides that runs are missing."""
    for job in [Job(run, 2, out, out) for run in RUNS] + [Job("local south", 1, out, out)]:
        job.file.unlink()
    results = Results(read_runs(out, SEEDS))
    assert results.missing == ["local south"]
    text = page(results)
    assert "Not run yet, and left out: local south." in text
    assert "| local, SFT |" not in text
    assert "| federated over local |" not in text
    assert "| one shared LoRA, SFT |" in text


def test_the_page_names_every_arm_and_every_difference(out: Path) -> None:
    """Catches an arm that is computed and not shown."""
    text = page(Results(read_runs(out, SEEDS)))
    for level in LEVELS:
        assert all(f"| {name} |" in text for name in (*arms_at(level), *differences_at(level)))
    assert "| epsilon 8, wordings free | 0.500 | 0.250 | 0.750 | 0.500 |" in text


def test_every_private_run_spends_what_its_level_says() -> None:
    """Catches an ablation that has a larger budget than what it is compared with, or wastes some of its own."""
    for training in RUNS.values():
        target = LEVELS[training.level]
        if target is None or training.trained == "nothing":
            continue
        assert 0.97 * target <= epsilon(events(training.recipe()), DELTA) <= target <= BUDGET
    assert RUNS["federated, no privacy"].recipe() != STUDY


def test_results_of_another_recipe_are_neither_taken_for_this_ones_nor_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches hours of work thrown away, or mixed with others, because a field of the recipe changed."""
    study.begin(tmp_path, "*.json.gz")
    (tmp_path / "11-base.json.gz").write_bytes(b"found")
    study.begin(tmp_path, "*.json.gz")
    stamp = tmp_path / "recipe.json"
    before = stamp.read_text()
    monkeypatch.setattr(study, "STUDY", replace(STUDY, patients=STUDY.patients + 1))
    with pytest.raises(SystemExit, match="of another base or recipe"):
        study.begin(tmp_path, "*.json.gz")
    assert (tmp_path / "11-base.json.gz").read_bytes() == b"found"
    assert stamp.read_text() == before
    assert all(stage.distributed is None for stage in STUDY.stages)
    assert "distributed" not in before, "what the recipe makes no use of is not part of it"
