"""A campaign as a pure state machine: what is committed says what comes next.

    base evaluated ──> rounds of stage 1 ──> stage 1 evaluated ──> rounds of stage 2 ──> ... ──> done

A stage is evaluated by the evaluator, on public data, and then by the hospitals, in noised counts; each where the
campaign says so.
Rounds are numbered from 1 through all stages, so that a hospital's ledger knows each by one number. Nothing
here touches files or the network: `server.campaign_file` reads, `server.store` remembers, `server.runner`
acts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from privacy import canonical
from privacy.errors import MechanismError, PlanError
from privacy.evaluation import Kind, NoisedEvaluation
from privacy.experts import EXPERTS, ROUTER, SCALES, TASKS, TRAINED_IN, ExpertForm
from privacy.mechanism import Mechanism
from privacy.plan import ANSWER_TOKENS, Plan
from privacy.policy import is_hospital
from server.errors import CampaignError
from strategies.aggregate import Recipe
from strategies.definition import Aggregation, Definition, Stage
from strategies.errors import RecipeError
from strategies.optimiser import Optimiser
from strategies.weighting import BY_NOISE, DECLARED, EQUAL, WEIGHTINGS

BASE = "base"  # the evaluation before any training; the others are called as the stages that they follow
EVALUATE = ("stages", "never")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SOME_DIGEST = "0" * 64
_MOST_DECLARED = 10**12  # as many patients as a policy may state
# Within which, and the bound above, no sum of weights or of their squares leaves the floats.
_LEAST_WEIGHT = 1e-6
# Of a server optimiser's learning rate and tau: beyond them float32 states come out as no numbers.
_LEAST_STEP, _MOST_STEP = 1e-9, 1e4


@dataclass(frozen=True)
class NoisedEvaluations:
    """After each stage every hospital that offers it is asked for noised counts of right and wrong answers."""

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = self.noise_multiplier
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1000:
            raise CampaignError(
                f"noised_evaluation: noise_multiplier = {value!r}: must be above 0, at most 1000"
            )
        object.__setattr__(self, "noise_multiplier", float(value))


@dataclass(frozen=True)
class Campaign:
    """What a campaign file says. Frozen, and valid by construction: `CampaignError` names the key and the
    cure.

    `initial` names the folder of the experts' start, beside the file. A round commits when at least `quorum`
    hospitals gave an accepted release within `round_deadline_s` seconds. `trusted_code` holds the code hashes of
    the installations whose releases are taken; empty for any. Experts have `expert_rank` and `expert_alpha` on all
    layers, but for those whose form `expert` gives. `weights` are each hospital's in a declared mean, `patients` the
    nominal patients that hospitals agreed to state their noise for: where one of them is there, only the hospitals that it
    names take part. `optimiser` gives server optimisers by expert. With `keep_releases` the accepted releases of each round
    are kept, so that it can be recomputed.
    """

    name: str
    seed: int
    base_hash: str
    expert_rank: int
    expert_alpha: float
    initial: str
    quorum: int
    round_deadline_s: float
    evaluate: str
    stages: tuple[Stage, ...]
    weighting: str = EQUAL
    weights: Mapping[str, float] = field(default_factory=dict)
    patients: Mapping[str, int] = field(default_factory=dict)
    aggregation: Aggregation = field(default_factory=Aggregation)
    optimiser: Mapping[str, Optimiser] = field(default_factory=dict)
    trusted_code: tuple[str, ...] = ()
    noised_evaluation: NoisedEvaluations | None = None
    expert: Mapping[str, ExpertForm] = field(default_factory=dict)
    keep_releases: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise CampaignError(f'name = {self.name!r}: use lower-case letters, digits, ".", "_" and "-"')
        if not isinstance(self.initial, str) or not self.initial:
            raise CampaignError(f"initial = {self.initial!r}: name the folder of the experts' first states")
        _count("quorum", self.quorum)
        deadline = self.round_deadline_s
        if (
            isinstance(deadline, bool)
            or not isinstance(deadline, (int, float))
            or not 0 < deadline <= 7 * 86400
        ):
            raise CampaignError(f"round_deadline_s = {deadline!r}: must be seconds above 0, at most a week")
        for key, known in (("evaluate", EVALUATE), ("weighting", tuple(WEIGHTINGS))):
            if getattr(self, key) not in known:
                raise CampaignError(f"{key} = {getattr(self, key)!r}: use one of {', '.join(known)}")
        codes = self.trusted_code
        if not isinstance(codes, (list, tuple)) or not all(map(canonical.is_digest, codes)):
            raise CampaignError(
                f"trusted_code = {codes!r}: must be a list of SHA-256 in hex, as `fedpath-consortium status` shows"
            )
        object.__setattr__(self, "trusted_code", tuple(sorted(set(codes))))
        if not isinstance(self.keep_releases, bool):
            raise CampaignError(f"keep_releases = {self.keep_releases!r}: must be true or false")
        if not isinstance(self.noised_evaluation, NoisedEvaluations | None):
            raise CampaignError("noised_evaluation: write it as a [noised_evaluation] table")
        self._check_forms()
        self._check_members()
        self._check_recipes()
        kinds = [stage.kind for stage in self.stages]
        if not kinds or kinds != [kind for kind in TRAINED_IN if kind in kinds]:
            order = ", ".join(TRAINED_IN)
            raise CampaignError(f"stages are {kinds}: state one or more of {order}, each once, in this order")
        for stage in self.stages:
            self._check_stage(stage)

    def _check_forms(self) -> None:
        try:
            ExpertForm(self.expert_rank, self.expert_alpha)
        except PlanError as error:
            raise CampaignError(f"expert_{error}") from error
        formed = [name for name in EXPERTS if name != ROUTER]
        for name in self.expert:
            if name not in formed:
                raise CampaignError(f'expert."{name}": use one of {", ".join(formed)}')

    def _check_members(self) -> None:
        for key, of in (("weights", (int, float)), ("patients", (int,))):
            table = getattr(self, key)
            if not isinstance(table, Mapping) or not all(map(is_hospital, table)):
                raise CampaignError(f"{key}: write it as a [{key}] table of hospitals' names and numbers")
            for name, value in table.items():
                least, what = (1, "a whole number") if of == (int,) else (_LEAST_WEIGHT, "a number")
                if (
                    isinstance(value, bool)
                    or not isinstance(value, of)
                    or not least <= value <= _MOST_DECLARED
                ):
                    raise CampaignError(
                        f"{key}.{name} = {value!r}: must be {what} from {least:g} to {_MOST_DECLARED:g}"
                    )
        object.__setattr__(self, "weights", {name: float(value) for name, value in self.weights.items()})
        if (self.weighting == DECLARED) != bool(self.weights):
            raise CampaignError(
                f'weights: weighting = "{DECLARED}" takes a [weights] table, and no other weighting does'
            )
        if self.weighting in BY_NOISE and not self.patients:
            raise CampaignError(
                f'patients: weighting = "{self.weighting}" goes by the noise that releases state, so it takes a [patients] '
                "table: without it, who claims more patients takes all the weight"
            )
        if self.weights and self.patients and set(self.weights) != set(self.patients):
            odd = ", ".join(sorted(set(self.weights) ^ set(self.patients)))
            raise CampaignError(
                f"patients and weights name different hospitals: {odd}; name the same in both"
            )

    def _check_recipes(self) -> None:
        if not isinstance(self.aggregation, Aggregation):
            raise CampaignError("aggregation: write it as an [aggregation] table")
        for name, optimiser in self.optimiser.items():
            if name not in EXPERTS:
                raise CampaignError(f'optimiser."{name}": use one of {", ".join(EXPERTS)}')
            for key, value in (("learning_rate", optimiser.learning_rate), ("tau", optimiser.tau)):
                if not _LEAST_STEP <= value <= _MOST_STEP:
                    raise CampaignError(
                        f'optimiser."{name}": {key} = {value:g}: must be from {_LEAST_STEP:g} to {_MOST_STEP:g}'
                    )
        try:
            least = self.recipe(EXPERTS[0]).combining.least
        except RecipeError as error:
            raise CampaignError(f"aggregation: {error}") from error
        if self.quorum < least:
            raise CampaignError(
                f"quorum = {self.quorum}: {self.aggregation.rule} against {self.aggregation.hostile} needs {least} hospitals"
            )

    def _check_stage(self, stage: Stage) -> None:
        """What every plan of the stage would be refused for is refused here, before anything is begun."""
        hashes = dict.fromkeys(stage.experts, _SOME_DIGEST)
        try:
            self.defined().plan(stage, 1, hashes)
        except PlanError as error:
            raise CampaignError(f"stage {stage.kind}: {error}") from error
        if stage.distributed is not None:
            self._check_distributed(stage)

    def _check_distributed(self, stage: Stage) -> None:
        """A sum is divided by agreed numbers of patients, and nothing but the sum can be weighed, trimmed or kept."""
        where = f"stage {stage.kind}: distributed"
        if not self.patients:
            raise CampaignError(f"{where}: takes a [patients] table, by which the sum is divided")
        if self.aggregation != Aggregation() or self.weighting != EQUAL:
            raise CampaignError(f"{where}: a sum takes no [aggregation] and no weighting: leave them out")
        if taken := sorted(set(self.optimiser) & set(stage.experts)):
            raise CampaignError(
                f'{where}: optimiser."{taken[0]}": the server takes steps of Adam by the stage\'s learning_rate: leave it out'
            )
        if stage.distributed is not None and stage.distributed.threshold(len(self.patients)) is None:
            raise CampaignError(
                f"{where}: {len(self.patients)} hospitals are too few for {stage.distributed.honest} honest ones beside "
                f"{stage.distributed.colluding} colluding: docs/secagg.md"
            )

    def forms(self, names: Iterable[str]) -> dict[str, ExpertForm]:
        """The form of each of these experts but the router, which has none."""
        return self.defined().forms(names)

    def recipe(self, expert: str) -> Recipe:
        """How this expert is aggregated."""
        return self.defined().recipe(expert)

    @property
    def members(self) -> frozenset[str] | None:
        """The hospitals that take part; None for all that are enrolled."""
        return self.defined().members

    @property
    def rounds(self) -> int:
        """Rounds of all stages together."""
        return sum(stage.rounds for stage in self.stages)

    @property
    def longest_answer(self) -> int:
        """Tokens of the longest answer that any stage trains or writes: as many are read in an evaluation."""
        return max(stage.max_answer_tokens or ANSWER_TOKENS for stage in self.stages)

    @property
    def trained(self) -> frozenset[str]:
        """Every expert that some stage trains."""
        return frozenset(expert for stage in self.stages for expert in stage.experts)

    def defined(self, initial: Mapping[str, str] = MappingProxyType({})) -> Definition:
        """All that decides the campaign's result; `initial` hashes the first expert states.

        Quorum, deadline, evaluations and what is kept may change from one run to the next; nothing in here may.
        """
        shared = {item.name: getattr(self, item.name) for item in fields(Definition)}
        return Definition(**{**shared, "initial": initial})

    @property
    def code_hashes(self) -> frozenset[str] | None:
        """The trusted code; None where any is."""
        return self.defined().code_hashes

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of question (scale, task) that the campaign is about, sorted: the same at every point.

        Scales and tasks of the experts that it trains; all of them where it trains none of that sort.
        """
        scales = [scale for scale in SCALES if f"scale/{scale}" in self.trained] or SCALES
        tasks = [task for task in TASKS if f"task/{task}" in self.trained] or TASKS
        return tuple(sorted((scale, task) for scale in scales for task in tasks))

    def points(self) -> tuple[str, ...]:
        """Where it is evaluated: before training, and after each stage; nowhere if `evaluate` is "never"."""
        return (BASE, *(stage.kind for stage in self.stages)) if self.evaluate == "stages" else ()

    def noised_points(self) -> tuple[str, ...]:
        """After which stages hospitals are asked for noised counts; none without `noised_evaluation`."""
        return () if self.noised_evaluation is None else tuple(stage.kind for stage in self.stages)


@dataclass(frozen=True)
class Progress:
    """What is committed: how many rounds, and at which points the evaluator and the hospitals evaluated."""

    rounds: int = 0
    evaluated: frozenset[str] = field(default_factory=frozenset)
    noised: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate the present experts; `point` is "base" or the kind of the stage that ended."""

    point: str


@dataclass(frozen=True)
class EvaluateNoised:
    """Ask the hospitals for noised counts after the stage `point`, whose last round is `number`."""

    point: str
    number: int


@dataclass(frozen=True)
class Train:
    """Train round `number` of the campaign, which is round `of_stage` of `stage`."""

    number: int
    of_stage: int
    stage: Stage


@dataclass(frozen=True)
class Done:
    """Nothing is left."""


Action = Evaluate | EvaluateNoised | Train | Done


def next_action(campaign: Campaign, progress: Progress) -> Action:
    """What comes after `progress`. Pure: the same committed state always gives the same action."""
    if not 0 <= progress.rounds <= campaign.rounds:
        raise CampaignError(f"{progress.rounds} rounds are committed, but the campaign has {campaign.rounds}")
    point, before = BASE, 0
    for stage in campaign.stages:
        if progress.rounds == before and (due := _due(campaign, progress, point)):
            return due
        if progress.rounds < before + stage.rounds:
            return Train(progress.rounds + 1, progress.rounds + 1 - before, stage)
        point, before = stage.kind, before + stage.rounds
    return _due(campaign, progress, point) or Done()


def plan_for(campaign: Campaign, action: Train, states: Mapping[str, str]) -> Plan:
    """The plan of a round; `states` gives the hash of every expert's present state."""
    return campaign.defined().plan(action.stage, action.number, states)


def request_for(campaign: Campaign, action: EvaluateNoised, states: Mapping[str, str]) -> NoisedEvaluation:
    """What hospitals are asked at an evaluation point; `states` gives the hash of every expert's present state.

    Raises `CampaignError` where the campaign asks for no noised evaluation.
    """
    if campaign.noised_evaluation is None:
        raise CampaignError(f"campaign {campaign.name} asks for no noised evaluation")
    on = evaluated_with(action.point, states)
    return NoisedEvaluation(
        campaign=campaign.name,
        round=action.number,
        point=action.point,
        kinds=campaign.kinds,
        noise_multiplier=campaign.noised_evaluation.noise_multiplier,
        base_hash=campaign.base_hash,
        experts_hash={name: states[name] for name in on},
        forms=campaign.forms(on),
        expert_seed=campaign.seed,
        max_answer_tokens=campaign.longest_answer,
    )


def evaluated_with(point: str, states: Collection[str]) -> tuple[str, ...]:
    """The experts that are switched on at an evaluation point: none, those of SFT, or all; sorted."""
    kinds = list(TRAINED_IN)
    on = (
        {expert for kind in kinds[: kinds.index(point) + 1] for expert in TRAINED_IN[kind]}
        if point != BASE
        else set()
    )
    return tuple(sorted(name for name in states if name in on))


def check_initial(campaign: Campaign, names: Collection[str]) -> None:
    """Raise `CampaignError` unless there is a first state for every trained expert, and none for an unknown
    one."""
    missing, unknown = sorted(campaign.trained - set(names)), sorted(set(names) - set(EXPERTS))
    if missing or unknown:
        raise CampaignError(
            f"initial = {campaign.initial!r}: missing {', '.join(missing) or 'nothing'}, "
            f"unknown {', '.join(unknown) or 'nothing'}; the folder holds <expert>.safetensors, with __ for /"
        )


def definition_hash(definition: Mapping[str, Any]) -> str:
    """SHA-256 of a definition's canonical form."""
    return canonical.digest(canonical.encode(definition))


def mechanism_of(fields: object) -> Mechanism:
    """Read a stage's mechanism table. Raises `CampaignError`."""
    try:
        return Mechanism.from_dict(fields)  # type: ignore[arg-type]  # it checks what it is given
    except MechanismError as error:
        raise CampaignError(str(error)) from error


def _due(campaign: Campaign, progress: Progress, point: str) -> Evaluate | EvaluateNoised | None:
    if point in campaign.points() and point not in progress.evaluated:
        return Evaluate(point)
    if point in campaign.noised_points() and point not in progress.noised:
        return EvaluateNoised(point, progress.rounds)
    return None


def _count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or not math.isfinite(value):
        raise CampaignError(f"{key} = {value!r}: must be a whole number of at least 1")
