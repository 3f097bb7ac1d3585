"""What the study's runs say together: means by arm and row, paired differences, and the page docs/results.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.recipe import DELTA
from demo.study_runs import LEVELS, RUNS, Job, Level

RESAMPLES = 2000
STEPS = (1, 2, 4, 6, 8, 10)  # whose rewards stand in the table
Row = tuple[str, str]  # scale, task
Found = dict[Row, dict[str, tuple[float, int]]]  # by row, each patient's sum and number of answers


@dataclass(frozen=True)
class Arm:
    """A line of the table: the mean over these runs, in one form of answer."""

    runs: tuple[str, ...]
    form: str


LOCAL = tuple(run for run in RUNS if run.startswith("local "))


def arms_at(level: Level) -> dict[str, Arm]:
    """The lines of one level of privacy, by name."""
    federated, shared, alone = f"federated, {level}", f"one shared LoRA, {level}", f"SFT alone, {level}"
    arms = {
        "base": Arm(("base",), "base direct"),
        "scale experts only (SFT)": Arm((federated,), "sft direct"),
        "scale and task, declared (SFT + GRPO)": Arm((federated,), "grpo thinking"),
        "scale and task, learned gates": Arm((federated,), "grpo thinking learned"),
    }
    if alone in RUNS:
        arms["no RL: the whole budget on SFT"] = Arm((alone,), "sft direct")
    arms |= {
        "one shared LoRA, SFT": Arm((shared,), "sft direct"),
        "one shared LoRA, SFT + GRPO": Arm((shared,), "grpo thinking"),
    }
    if level == "epsilon 8":
        rounded = ("rounded to int8, epsilon 8",)
        arms |= {
            "releases rounded to int8, SFT": Arm(rounded, "sft direct"),
            "releases rounded to int8, SFT + GRPO": Arm(rounded, "grpo thinking"),
            "local, SFT": Arm(LOCAL, "sft direct"),
            "local, SFT + GRPO": Arm(LOCAL, "grpo thinking"),
        }
    if LEVELS[level] is None:
        arms |= {
            "pooled, SFT": Arm(("pooled",), "sft direct"),
            "pooled, SFT + GRPO": Arm(("pooled",), "grpo thinking"),
        }
    return arms | {
        "base, asked to think": Arm(("base",), "base thinking"),
        "SFT, asked to think": Arm((federated,), "sft thinking"),
        "SFT + GRPO, asked directly": Arm((federated,), "grpo direct"),
    }


def differences_at(level: Level) -> dict[str, tuple[Arm, Arm]]:
    """What is asked of one level of privacy: more, less."""
    arms = arms_at(level)
    declared, sft = arms["scale and task, declared (SFT + GRPO)"], arms["scale experts only (SFT)"]
    asked = {
        "SFT over base": (sft, arms["base"]),
        "SFT + GRPO over SFT": (declared, sft),
        "SFT + GRPO over SFT, both thinking": (declared, arms["SFT, asked to think"]),
        "SFT + GRPO over SFT, both directly": (arms["SFT + GRPO, asked directly"], sft),
        "learned over declared gates": (arms["scale and task, learned gates"], declared),
        "experts over one shared LoRA": (declared, arms["one shared LoRA, SFT + GRPO"]),
    }
    if "no RL: the whole budget on SFT" in arms:
        asked["SFT + GRPO over SFT with the whole budget"] = declared, arms["no RL: the whole budget on SFT"]
    if level == "epsilon 8":
        asked["rounded to int8 over not rounded, SFT"] = arms["releases rounded to int8, SFT"], sft
        asked["rounded to int8 over not rounded, SFT + GRPO"] = (
            arms["releases rounded to int8, SFT + GRPO"],
            declared,
        )
        asked["federated over local"] = declared, arms["local, SFT + GRPO"]
    return asked


def read_runs(folder: Path, seeds: Sequence[int]) -> dict[tuple[int, str], dict[str, Any]]:
    """What the runs that have ended found, by seed and run."""
    jobs = [Job(run, seed, folder, folder) for seed in seeds for run in RUNS]
    return {(job.seed, job.run): job.read() for job in jobs if job.file.exists()}


@dataclass(frozen=True)
class Results:
    """The study's runs. Means are over whole seeds, so that every arm's are over the same patients; a difference, which is
    paired, is over every seed that has both arms.
    """

    runs: Mapping[tuple[int, str], Mapping[str, Any]]

    @property
    def seeds(self) -> list[int]:
        """The seeds whose every run has ended, or, where there is none yet, the first one that has begun."""
        return self._with(RUNS) or self._with(())[:1]

    def seeds_of(self, *arms: Arm) -> list[int]:
        """The seeds that have every run of the arms; and the base's, which names the patients."""
        return self._with({run for arm in arms for run in arm.runs} | {"base"})

    def _with(self, needed: Collection[str]) -> list[int]:
        """The seeds in which these runs have ended, ascending."""
        begun = sorted({seed for seed, _ in self.runs})
        return [seed for seed in begun if all((seed, run) in self.runs for run in needed)]

    @property
    def missing(self) -> list[str]:
        """Runs that have not ended."""
        return [run for run in RUNS if any((seed, run) not in self.runs for seed in self.seeds)]

    @property
    def levels(self) -> list[Level]:
        """The levels of privacy whose federated run has ended."""
        return [level for level in LEVELS if f"federated, {level}" not in self.missing]

    def has(self, *arms: Arm) -> bool:
        """Whether every run of the arms has ended."""
        return not {run for arm in arms for run in arm.runs} & set(self.missing)

    def found(self, seed: int, run: str, form: str) -> Found:
        """One form of one run."""
        rows = self.runs[seed, run]["forms"][form]
        return {
            (row["scale"], row["task"]): {p: (total, count) for p, (total, count) in row["patients"].items()}
            for row in rows
        }

    def rows(self) -> list[Row]:
        """All scales and tasks."""
        return sorted(self.found(self.seeds[0], "base", "base direct"))

    def mean(self, arm: Arm, row: Row | None = None) -> float:
        """An arm's mean over seeds and runs: of a row, or of all rows alike."""
        rows = self.rows() if row is None else [row]
        return float(
            np.mean(
                [_mean(self.found(s, r, arm.form)[k]) for s in self.seeds for r in arm.runs for k in rows]
            )
        )

    def difference(self, more: Arm, less: Arm, row: Row | None = None) -> tuple[float, float, float]:
        """The difference of two arms' means, and its 95 % interval over resampled patients, the same in both arms.

        It says what other patients would have made of these models; not what other trainings would have made.
        """
        rows = self.rows() if row is None else [row]
        by_seed = [
            np.mean(
                [_resampled(self, seed, more, key) - _resampled(self, seed, less, key) for key in rows],
                axis=0,
            )
            for seed in self.seeds_of(more, less)
        ]  # each [1 + RESAMPLES]
        values = np.mean(by_seed, axis=0)
        low, high = np.quantile(values[1:], [0.025, 0.975])
        return float(values[0]), float(low), float(high)


def _mean(patients: Mapping[str, tuple[float, int]]) -> float:
    return sum(total for total, _ in patients.values()) / sum(count for _, count in patients.values())


def _resampled(results: Results, seed: int, arm: Arm, row: Row) -> NDArray[np.float64]:
    """The arm's mean of a row as it is, then over resampled patients: the same ones for every arm and row of a seed."""
    everyone = sorted({p for of in results.found(seed, "base", "base direct").values() for p in of})
    draws = np.random.default_rng(seed).multinomial(
        len(everyone), np.full(len(everyone), 1 / len(everyone)), size=RESAMPLES
    )
    times = np.vstack([np.ones((1, len(everyone)), dtype=draws.dtype), draws])
    runs = []
    for run in arm.runs:
        patients = results.found(seed, run, arm.form)[row]
        sums, counts = np.array([patients.get(p, (0.0, 0)) for p in everyone]).T
        runs.append((times @ sums) / (times @ counts))
    return np.asarray(np.mean(runs, axis=0))


def page(results: Results) -> str:
    """docs/results.md."""
    seeds = ", ".join(map(str, results.seeds))
    parts = [
        "# Results of the study\n",
        f"`make study`, seed{'s' if len(results.seeds) > 1 else ''} {seeds}. Metrics: accuracy (classification, questions), "
        "AP50 (detection), Dice (segmentation), on public validation patients of all three sites. Models that GRPO has "
        "trained think first, all others answer directly, as they were trained; the last lines of each table show the other "
        "form. Differences are paired, and over every seed that has both arms: their 95 % intervals are over the same "
        "resampled patients in both, so they say nothing about other trainings. [study.md](study.md) says what to read from "
        "it.\n",
    ]
    if results.missing:
        parts.append(f"Not run yet, and left out: {'; '.join(results.missing)}.\n")
    levels = results.levels
    for level in levels:
        spent = results.runs[results.seeds[0], f"federated, {level}"]["epsilon"]
        heading = "Without privacy" if spent is None else f"At epsilon {spent:.2f}"
        told = "clipped, but without noise" if spent is None else f"delta {DELTA:g} a hospital, patient-level"
        parts += [
            f"## {heading}\n\n{heading}: {told}.\n",
            _means(results, level),
            _differences(results, level),
        ]
    return "\n".join([*parts, _router(results, levels), _rewards(results, levels)])


def _means(results: Results, level: Level) -> str:
    rows = results.rows()
    lines = [
        f"| {name} | "
        + " | ".join(f"{results.mean(arm, row):.3f}" for row in rows)
        + f" | {results.mean(arm):.3f} |"
        for name, arm in arms_at(level).items()
        if results.has(arm)
    ]
    return _table(["", *map("/".join, rows), "mean"], lines)


def _differences(results: Results, level: Level) -> str:
    columns: list[Row | None] = [None, ("roi", "detection"), ("roi", "segmentation")]
    lines = []
    for name, (more, less) in differences_at(level).items():
        seeds = results.seeds_of(more, less)
        if not seeds:
            continue
        cells = [results.difference(more, less, row) for row in columns]
        lines.append(
            f"| {name} | "
            + " | ".join(f"{at:+.3f} ({low:+.3f} to {high:+.3f})" for at, low, high in cells)
            + f" | {len(seeds)} |"
        )
    return _table(["difference", "mean of all rows", "roi/detection", "roi/segmentation", "seeds"], lines)


def _router(results: Results, levels: Sequence[Level]) -> str:
    """How often the greatest gate of a question that names no task is the right task's."""
    lines = []
    for level in levels:
        for kind in ("of the manifests", "free"):
            found = [results.runs[seed, f"federated, {level}"]["router"][kind] for seed in results.seeds]
            cells = {
                (scale, task): float(np.mean([of[scale][task] for of in found]))
                for scale, tasks in found[0].items()
                for task in tasks
            }
            shares = " | ".join(f"{cells[row]:.3f}" for row in results.rows())
            lines.append(f"| {level}, wordings {kind} | {shares} | {np.mean(list(cells.values())):.3f} |")
    return (
        "## The router\n\nShare of questions that name no task whose greatest gate is the right task's expert: in the "
        "wordings of the manifests, which it was trained on, and in free ones (`demo/free_questions.py`), which it was not.\n\n"
        + _table(["", *map("/".join, results.rows()), "mean"], lines)
    )


def curves(results: Results, level: Level) -> dict[str, list[float]]:
    """GRPO's mean reward by task and step, of the first seed."""
    found: dict[str, list[float]] = results.runs[results.seeds[0], f"federated, {level}"]["rewards"]
    return found


def picture(level: str) -> str:
    """The file beside the page that shows a level's curves."""
    return f"results-rewards-{level.replace(' ', '-')}.svg"


def _rewards(results: Results, levels: Sequence[Level]) -> str:
    lines = []
    for level in levels:
        for task, values in curves(results, level).items():
            at = " | ".join(f"{values[step - 1]:.3f}" for step in STEPS)
            lines.append(f"| {level}, {task} | {at} |")
    pictures = "\n\n".join(f"![{level}: reward by step]({picture(level)})" for level in levels)
    return (
        f"## GRPO's reward by step\n\nTask reward plus half of the format's, mean over all rollouts of a step at all "
        f"hospitals, seed {results.seeds[0]}. A step's patients are others each time: a hundredth up or down is chance.\n\n"
        + _table(["", *(f"step {step}" for step in STEPS)], lines)
        + f"\n{pictures}\n"
    )


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    return "| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n" + "\n".join(lines) + "\n"
