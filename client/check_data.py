"""What is wrong with a hospital's slides and labels, found before a campaign finds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from client.errors import ClientError, ManifestError, ManifestFileError, Problem
from client.findings import Finding
from client.home import Home
from client.inventory import Inventory, Place, slide_findings, take_inventory
from client.slides.index import Looking
from client.tasks.manifest import Manifest, read_manifest
from client.tasks.manifest_table import BEYOND
from client.withdrawn import read_withdrawn, staying
from privacy.errors import PolicyError
from privacy.policy import Policy


def data_findings(home: Home, looking: Looking, image_token: str | None) -> Iterator[Finding]:
    """Everything to be said of the home's slides and manifest, for a base of this token. Raises `ClientError`.

    Of a policy or a base (None) that can't be read others speak; then the manifest is read as without one.
    """
    try:
        policy = home.policy
    except (ClientError, PolicyError):
        policy = None
    inventory = take_inventory(Place.of(home), looking, measure=False)
    yield Finding("slides", f"{len(inventory.index.slides)} slides can serve")
    manifest: Manifest | None = None
    wrong: list[Finding] = []
    try:
        manifest = read_manifest(
            home.settings.manifest,
            inventory.index,
            policy is not None and policy.skip_bad_rows,
            image_token,
        )
    except ManifestFileError as error:
        wrong = [Finding("manifest-file", error.what, str(error.path), error.advice, grave=True)]
    except ManifestError as error:
        wrong = [_row(problem, grave=True) for problem in error.problems]
    yield from slide_findings(inventory, manifest.skipped_rows if manifest else None)
    if manifest is None:
        yield from wrong
    else:
        yield from (_row(problem, grave=False) for problem in manifest.problems)
        yield from _patients(manifest, policy)
        yield from _unlabelled(manifest, policy)
        yield from _questions(manifest, inventory, read_withdrawn(home.withdrawn))


def _row(problem: Problem, grave: bool) -> Finding:
    where = f"manifest, {problem.where}, column {problem.column}"
    code = f"manifest-{'row' if problem.column == BEYOND else problem.column}"
    return Finding(code, problem.what, where, problem.advice, grave)


def _questions(manifest: Manifest, inventory: Inventory, withdrawn: frozenset[str]) -> Iterator[Finding]:
    """How much is asked, and about which slides nothing is. A home with no question left has nothing to do in a round."""
    left = len(staying(manifest.samples, withdrawn))
    gone = len(manifest.samples) - left
    yield Finding(
        "questions",
        f"{left} questions; {sum(manifest.skipped_rows.values())} more went with skipped slides, {manifest.left_out} with "
        f"bad rows{f', {gone} with patients who withdrew' if gone else ''}",
        advice=""
        if left
        else "nothing can be trained on or evaluated here: mend the slides and rows that are named",
        grave=not left,
    )
    asked = {sample.slide for sample in manifest.samples}
    silent = [name for name in inventory.index.slides if name not in asked]
    yield from (
        Finding("nothing-asked", "the manifest asks nothing about it", f"slide {name}") for name in silent
    )


def _patients(manifest: Manifest, policy: Policy | None) -> Iterator[Finding]:
    """How many questions patients have: of one who has more than a step may take, a draw takes some."""
    each = Counter(sample.patient for sample in manifest.samples)
    if each:
        what = f"{len(each)} patients with {min(each.values())} to {max(each.values())} questions each"
        if policy is not None:
            most = policy.maximum_samples_per_patient
            many = sum(count > most for count in each.values())
            what += f"; {many} have more than the {most} that the policy lets a step take of one patient"
        yield Finding("patients", what)


def _unlabelled(manifest: Manifest, policy: Policy | None) -> Iterator[Finding]:
    """Tasks that the policy names and no question is of: the hospital's router learns that nothing is ever of them."""
    if policy is None or policy.public_data:
        return
    asked = {sample.task for sample in manifest.samples}
    for task in policy.tasks:
        if task not in asked:
            yield Finding(
                "unlabelled-task",
                f"the policy names the task {task}, and no question of the manifest is of it",
                advice=f"take {task} out of the policy's tasks: else the router learns here that no question is of it",
            )
