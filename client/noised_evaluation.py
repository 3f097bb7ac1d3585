"""How good the experts are on this hospital's own patients, in noised counts: what may leave, at a price."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from client.evaluation.answers import Asking, answer
from client.model.experts import Experts
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.training.batch import LoadInputs, by_kind
from client.training.cohort import PROMPT_TOKENS
from client.training.memory import ROWS
from privacy.evaluation import Kind
from privacy.noised_counts import NoisedCounts, noised_counts
from privacy.randomness import RandomSource


def noised_evaluation(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    kinds: Sequence[Kind],
    asking: Asking,
    noise_multiplier: float,
    random: RandomSource,
    progress: Callable[[int, int], None] = lambda done, of: None,
    rows: int = ROWS[0],
) -> NoisedCounts:
    """Ask every sample of the public `kinds` (scale, task), score the answers, and count them patient by patient.

    Guarantee: adding or removing one patient, with any number of samples, changes what is returned as one
    Gaussian step of `noise_multiplier` does: it spends `privacy.evaluation.charge(noise_multiplier)`, which
    the caller reserves first. Answers are greedy, of batches of one patient each and at most `rows`: no patient's depends on
    another's. A question longer than `PROMPT_TOKENS` is not asked, as it trains nothing: what a batch takes of memory is bounded
    whoever is asked. Kinds of which there are no samples are counted too: their absence is as private as their number.
    """
    asked = [s for s in samples if s.kind in kinds and experts.lengths(s)[0] <= PROMPT_TOKENS]
    texts = answer(experts, asked, load_inputs, asking, progress, rows=rows, apart=True)
    return noised_counts(kinds, patient_scores(asked, texts), noise_multiplier, random)


def patient_scores(samples: Sequence[Sample], texts: Sequence[str | None]) -> list[dict[Kind, list[float]]]:
    """Each patient's scores by kind; texts[i] answers samples[i], None being no answer."""
    answers = by_kind(zip(texts, samples, strict=True), lambda pair: pair[1].patient)
    return [
        {kind: TASKS[kind[1]].score(pairs) for kind, pairs in by_kind(own, lambda pair: pair[1].kind).items()}
        for own in answers.values()
    ]
