"""The model card of released experts, in the Hugging Face form: front matter in YAML, then Markdown. Pure.

Hospitals are named as they themselves asked to be (`named_as` of their policies), and counted otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import yaml

from privacy.accounting import any_shared, epsilon
from privacy.evaluation import Evaluation
from privacy.mechanism import Event
from server.lineage import Version
from server.points import Point
from server.records import Row

DELTA = 1e-5  # at which the card states epsilon
_TASKS = {
    "classification": "which class a region or slide belongs to",
    "detection": "boxes around what a region holds",
    "segmentation": "outlines of what a region holds",
    "vqa": "questions in free form",
}
_LIMITS = """\
- **Not for clinical use**: no diagnosis, no triage, no choice of treatment. Nothing here was validated for that.
- Scores are of the evaluator's public data. What the experts do on other scanners, stains, organs and populations than took
  part is not known; a hospital finds out on its own slides with `fedpath-hospital evaluate`.
- Noise for privacy costs accuracy, and costs most where there are fewest patients: expect the rare classes to be the worst.
- The base brings its own faults and its own licence; an expert works on no other base than the one whose hash stands above."""


@dataclass(frozen=True)
class Released:
    """What a card tells of: the experts of one point of a campaign, or one of them (`only`) as an adapter.

    `versions` are the lineage up to the point, oldest first; `events` what a hospital spent that took part in all rounds
    up to it; `scores` the public evaluation at the point, none where there was none. `hospitals` is how many gave an
    accepted release, `named` what those of them who want to be named are called. `left_out` are an adapter's tensors that
    peft has no place for.
    """

    consortium: str
    campaign: str
    point: Point
    experts: Evaluation
    versions: Sequence[Version]
    events: Sequence[Event]
    scores: Sequence[Row]
    hospitals: int
    named: Sequence[str]
    license: str
    only: str | None = None
    left_out: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Its first heading."""
        what = "Pathology experts" if self.only is None else f"Expert {self.only}"
        return f"{what} of campaign {self.campaign}"

    @property
    def shown(self) -> Mapping[str, str]:
        """The experts that it is about, and the hashes of their states."""
        return {
            name: digest for name, digest in self.experts.experts_hash.items() if self.only in (None, name)
        }


def card(released: Released) -> str:
    """The text of README.md."""
    front = yaml.safe_dump(_front(released), sort_keys=False, allow_unicode=True, width=1000)
    parts = [f"---\n{front}---", f"# {_text(released.title)}", *_sections(released)]
    return "\n\n".join(parts) + "\n"


def _front(released: Released) -> dict[str, object]:
    values: dict[str, object] = {
        "license": released.license,
        "language": ["en"],
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["pathology", "medical", "federated-learning", "differential-privacy", "lora"],
    }
    if released.scores:
        values["model-index"] = [
            {"name": released.title, "results": [_result(row) for row in released.scores]}
        ]
    return values


def _result(row: Row) -> dict[str, object]:
    interval = f"95 % interval {row.low:.3f} to {row.high:.3f}, n {row.n}"
    return {
        "task": {"type": "image-text-to-text", "name": f"{row.scale} {row.task}"},
        "dataset": {"type": "evaluator", "name": "the evaluator's public data"},
        "metrics": [{"type": row.metric, "value": round(row.mean, 4), "name": f"{row.metric} ({interval})"}],
    }


def _sections(released: Released) -> Iterator[str]:
    yield "**Not for clinical use.** A research model; nothing here was validated for diagnosis."
    yield _table(("", ""), _facts(released))
    if released.left_out:
        yield f"**Not in this folder**, because it is no LoRA: {_names(released.left_out)}."
    yield "## What they answer" if released.only is None else "## What it answers"
    yield _answers(released)
    yield "## Scores"
    yield _scores(released)
    yield "## Who trained"
    yield _who(released)
    yield "## Privacy"
    yield _privacy(released)
    yield "## Lineage"
    yield _lineage(released)
    yield "## Licence"
    yield _licence(released)
    yield "## Limits"
    yield _LIMITS


def _facts(released: Released) -> Iterator[tuple[str, str]]:
    point = released.point
    yield "consortium", _text(released.consortium)
    yield "campaign", _text(released.campaign)
    yield "after", f"round {point.round}, of stage {_text(point.stage)}"
    yield "base (SHA-256 of its folder)", f"`{released.experts.base_hash}`"
    for name, digest in released.shown.items():
        yield f"state of `{name}`", f"`{digest}`"


def _answers(released: Released) -> str:
    rows = []
    for name in released.shown:
        side, _, what = name.partition("/")
        if side == "task":
            rows.append((f"`{name}`", _TASKS.get(what, what)))
        elif side == "scale":
            rows.append((f"`{name}`", "regions of a slide" if what == "roi" else "whole slides"))
        else:
            rows.append((f"`{name}`", "chooses scale and task where a question declares neither"))
    return _table(("expert", "for"), rows)


def _scores(released: Released) -> str:
    if not released.scores:
        return "**Not evaluated**: nobody asked the evaluator about these experts (`fedpath-consortium evaluate`)."
    rows = [
        (
            row.scale,
            row.task,
            _text(row.metric),
            f"{row.mean:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            str(row.n),
        )
        for row in released.scores
    ]
    about = "On public data, by the consortium's evaluator, with the experts of this set together."
    return f"{about}\n\n{_table(('scale', 'task', 'metric', 'mean', '95 % interval', 'n'), rows)}"


def _who(released: Released) -> str:
    count = f"{released.hospitals} hospital{'' if released.hospitals == 1 else 's'}"
    if not released.named:
        return f"{count}, none of which asked to be named."
    told = "\n".join(f"- {_text(name)}" for name in sorted(released.named))
    rest = released.hospitals - len(released.named)
    return f"{count}. As they asked to be named:\n\n{told}" + (f"\n\nand {rest} more." if rest > 0 else "")


def _privacy(released: Released) -> str:
    if not released.events:
        return "Nothing was trained on anybody's data: these experts are the start."
    rows = []
    for (noise, rate), held in groupby(
        released.events, key=lambda event: (event.noise_multiplier, event.sampling_rate)
    ):
        several = list(held)
        rows.append((str(len(several)), str(sum(e.steps for e in several)), f"{noise:g}", f"{rate:g}"))
    trust = (
        "The sum over all hospitals carries the noise, under secure aggregation: no one hospital's part can be opened"
        if any_shared(released.events)
        else "Each hospital clipped and noised what it sent before it left"
    )
    return (
        f"{trust}. For a hospital that took part in every one of the {len(released.events)} rounds up to this point, "
        f"its patients' privacy cost **epsilon {epsilon(released.events, DELTA):.3g} at delta {DELTA:g}**: with or "
        "without any one patient, with all of the patient's slides, questions and answers, whatever anyone concludes "
        "from these experts is at most exp(epsilon) times as likely, but for a chance of about delta (adding or removing "
        "a patient; privacy loss distributions). What a hospital spent in other campaigns, its own ledger says.\n\n"
        + _table(("rounds", "steps in all", "noise multiplier", "sampling rate"), rows)
    )


def _lineage(released: Released) -> str:
    versions = [version for version in released.versions if version.expert in released.shown]
    rows = [
        (
            f"`{v.expert}`",
            str(v.round),
            _text(v.stage),
            f"`{v.state}`",
            f"`{v.parent}`" if v.parent else "the start",
        )
        for v in versions
    ]
    last = {v.expert: v for v in versions}
    on = "".join(
        f"\n\n`{name}` was trained on {_names(f'{on} {state}' for on, state in v.on.items())}, frozen."
        for name, v in last.items()
        if v.on and v.parent
    )
    return _table(("expert", "round", "stage", "state", "trained from"), rows) + on


def _licence(released: Released) -> str:
    if released.license == "other":
        return "Not stated: ask the consortium before you use or pass these experts on. The base has its own."
    return f"{_text(released.license)}, for the experts. The base has its own."


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _names(names: Sequence[str] | Iterator[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _text(text: str) -> str:
    """Text of whoever, as text: Markdown takes a backslash before any mark for the mark itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
