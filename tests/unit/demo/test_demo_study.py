"""What the study makes of its runs' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo import study
from demo.recipe import STUDY
from demo.study import RUNS, SEEDS, Job, summarise, table

ROWS = [("roi", "detection"), ("wsi", "vqa")]


def _write(out: Path, seed: int, run: str, sft: float, grpo: float) -> None:
    def rows(mean: float) -> dict[str, list[dict[str, object]]]:
        both = [{"scale": scale, "task": task, "mean": mean} for scale, task in ROWS]
        return {"direct": both, "thinking": [{**row, "mean": mean + 0.01} for row in both]}

    found = {"base": rows(sft)} if run == "base" else {"sft": rows(sft), "grpo": rows(grpo)}
    Job(run, seed, out).file.write_text(json.dumps(found))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for i, seed in enumerate(SEEDS):
        for run in RUNS:
            federated = run in ("federated", "no privacy", "pooled")
            _write(tmp_path, seed, run, 0.5 + 0.1 * federated, 0.6 + 0.1 * federated + 0.01 * i)
    return tmp_path


def test_means_and_differences_are_those_of_the_files(out: Path) -> None:
    """Catches an arm that reads another run, stage or form of answer, and differences with the wrong sign."""
    result = summarise(out, STUDY)
    assert result["seeds"] == list(SEEDS)
    means = {arm: round(found["mean"], 6) for arm, found in result["arms"].items()}
    assert means["base"] == 0.5
    assert means["local"] == pytest.approx(0.62)  # thinking, the mean of three hospitals and three seeds
    assert means["federated SFT"] == pytest.approx(0.6)
    assert means["federated"] == pytest.approx(0.72)
    assert means["federated, asked directly"] == pytest.approx(0.71)
    gain = result["differences"]["federated over local"]
    assert gain["mean"] == pytest.approx(0.1)
    assert result["differences"]["SFT + GRPO over SFT"]["seeds"] == pytest.approx([0.11, 0.12, 0.13])
    assert 0 < result["epsilon"] <= 8


def test_a_seed_that_is_not_done_counts_for_nothing(out: Path) -> None:
    """Catches means over different seeds for different arms."""
    Job("pooled", SEEDS[1], out).file.unlink()
    result = summarise(out, STUDY)
    assert result["seeds"] == [SEEDS[0], SEEDS[2]]
    assert len(result["arms"]["base"]["seeds"]) == 2


def test_the_table_names_every_arm(out: Path) -> None:
    """Catches an arm that is computed and not shown."""
    text = table(summarise(out, STUDY))
    assert all(f"| {arm} |" in text for arm in study.ARMS | study.OTHER_FORM)
    assert "| SFT + GRPO over SFT | +0.120 (" in text
