"""Questions as people would put them: no task is named, and no wording of the manifests is used.

They are for asking how often the router finds the task's expert; nothing is trained on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from client.model.experts import Experts
from client.model.forward import Query
from client.model.router import gates_for
from client.tasks.sample import Sample
from client.training.batch import LoadInputs

Wordings = Mapping[str, tuple[str, ...]]
FREE: Mapping[str, Wordings] = {  # scale -> task -> wordings
    "roi": {
        "classification": (
            "What tissue do you see?",
            "Name the tissue.",
            "What kind of tissue is in this field?",
            "Tissue?",
        ),
        "detection": (
            "Where are the glands?",
            "Put a box round each gland.",
            "Mark all glands with boxes.",
            "Find the glands.",
        ),
        "segmentation": (
            "Where does the tumour end?",
            "Draw the border of the tumour.",
            "Trace the tumour.",
            "Show the tumour's outline.",
        ),
        "vqa": (
            "Count the glands.",
            "Do you see mitoses?",
            "Is any fat there?",
            "How many glands can you see?",
        ),
    },
    "wsi": {
        "classification": (
            "Give the diagnosis.",
            "What does this patient have?",
            "Which diagnosis is it?",
            "Diagnosis?",
        ),
        "vqa": (
            "Do you see necrosis?",
            "Does the slide hold necrosis?",
            "Which tissue is there most of?",
            "What is the most common tissue?",
        ),
    },
}


def known(samples: Sequence[Sample]) -> dict[str, Wordings]:
    """The samples' own wordings, by scale and task."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for sample in samples:
        tasks = found.setdefault(sample.scale, {})
        tasks[sample.task] = tuple(dict.fromkeys((*tasks.get(sample.task, ()), sample.question)))
    return {scale: {task: tasks[task] for task in sorted(tasks)} for scale, tasks in sorted(found.items())}


def found_task(
    experts: Experts, samples: Sequence[Sample], load_inputs: LoadInputs, wordings: Mapping[str, Wordings]
) -> dict[str, dict[str, float]]:
    """By scale and task: the share of open questions whose greatest gate is the task's.

    Every wording is asked once about every distinct place of the samples.
    """
    places = {(s.scale, s.slide, s.region): s for s in samples}
    shares: dict[str, dict[str, float]] = {}
    for scale, tasks in wordings.items():
        asked_about = [sample for (of, _, _), sample in places.items() if of == scale]
        visuals = load_inputs(asked_about)
        for task, texts in tasks.items():
            right = []
            for text in texts:
                queries = [Query(experts.prompts.prompt(text, visual), visual) for visual in visuals]
                for start in range(0, len(queries), 128):
                    gates = gates_for(experts, queries[start : start + 128], top_k=1)
                    right += [gates.tasks[i] == task for i in gates.weights.argmax(1).tolist()]
            shares.setdefault(scale, {})[task] = float(np.mean(right))
    return shares
