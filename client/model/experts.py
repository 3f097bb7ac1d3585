"""Experts on the frozen base: named LoRA stacks on the language model, the slide projector of `scale/wsi`, and the
router.

FFA-LoRA: `lora_A` is a public function of base hash, expert, layer and seed, and frozen; `lora_B` (zeros at
first) trains and travels. An expert that is not attached is as at its public start: it adds nothing. All that trains
is float32, whatever the base is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from client.model import adapters
from client.model.base import Base
from client.model.errors import ExpertError
from client.model.expert_linear import ExpertLinear, RecordedLinear
from client.model.gates import Active, Gates, Switch
from client.model.projector import Projector
from client.model.prompt_tokens import PromptBuilder
from client.tasks.prompt import thinking
from client.tasks.sample import Sample
from privacy.experts import EXPERTS, ROUTER, TASKS, ExpertForm
from privacy.public_start import frozen_a
from privacy.ranks import is_b

WSI = "scale/wsi"


class Experts:
    """The experts attached to one base; made by `attach`. At most one scale expert is active, with any task experts."""

    def __init__(self, base: Base, forms: Mapping[str, ExpertForm], seed: int) -> None:
        self.base = base
        self.forms = MappingProxyType(dict(forms))
        self.seed = seed
        self.names = (*forms, ROUTER)
        self.prompts = PromptBuilder(base)
        self.router = RecordedLinear(base.width, len(TASKS), bias=False).to(base.device)
        self.router.layer_key = f"{ROUTER}::router"
        self._projector: Projector = copy.deepcopy(base.projector)
        self._projector.out.layer_key = f"{WSI}::projector.out"
        self._active, self._switch = Active(), Switch()
        self._held: Active | None = None
        self.layers: list[ExpertLinear] = []
        for name, module in base.language_model.named_modules():
            if isinstance(module, ExpertLinear):
                module.layer_name, module.switch = name, self._switch
                self.layers.append(module)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        self.router.requires_grad_(False).weight.zero_()
        for layer in self.layers:
            layer.requires_grad_(False)
            for name in filter(layer.holds, self.forms):
                a, b = layer.factors(name)
                rank, width = a.shape
                start = frozen_a(self.base.hash, name, layer.layer_name, self.seed, (rank, width))
                a.data = torch.from_numpy(start).to(self.base.device)
                b.data = torch.zeros_like(b, device=self.base.device, dtype=torch.float32)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the active experts, the scale expert first."""
        return self._active.experts

    @property
    def projector(self) -> Projector:
        """The slide projector of the active scale expert; the base's own where `scale/wsi` is off."""
        return self._projector if WSI in self.active else self.base.projector

    @property
    def recorders(self) -> list[nn.Module]:
        """The modules whose parameters train: what a gradient tape attaches to."""
        return [*self.layers, self._projector.out, self.router]

    def activate(self, scale: str | None, task: str | None) -> None:
        """Make `scale/<scale>` and `task/<task>` active (None: none of the kind) and all others inactive.

        ExpertError for a name that no expert has.
        """
        named = (("scale", scale), ("task", task))
        self._set(Active(self._attached(f"{kind}/{name}" for kind, name in named if name is not None)))

    @contextmanager
    def only(self, scale: str | None, task: str | None) -> Iterator[None]:
        """`activate`, undone at the end."""
        before = self._active
        self.activate(scale, task)
        try:
            yield
        finally:
            self._set(before)

    @contextmanager
    def gated(self, scale: str | None, gates: Gates) -> Iterator[None]:
        """The scale expert wholly, and each task's expert as far as its gate says, for the block: row i of the gates
        is of request i of what is read in it.
        """
        scales = self._attached([] if scale is None else [f"scale/{scale}"])
        columns = [i for i, task in enumerate(gates.tasks) if self._attached([f"task/{task}"])]
        weights = gates.weights[:, columns].to(self.base.device, torch.float32)
        before = self._active
        self._set(
            Active(
                (*scales, *(f"task/{gates.tasks[i]}" for i in columns)),
                torch.cat([weights.new_ones(len(weights), len(scales)), weights], dim=1),
            )
        )
        try:
            yield
        finally:
            self._set(before)

    @contextmanager
    def serving(self, requests: Tensor) -> Iterator[None]:
        """A forward pass whose row i is of request requests[i], int64 [N]: under `gated`, each row gets its gates."""
        gates = self._active.gates
        self._switch.rows = None if gates is None else gates[requests]
        try:
            yield
        finally:
            self._switch.rows = None

    def as_now(self) -> Callable[[], AbstractContextManager[None]]:
        """Enter what it returns, later, to have the active experts and the rows' gates of now: for what is computed
        again in a backward pass.
        """
        active, rows = self._active, self._switch.rows

        @contextmanager
        def then() -> Iterator[None]:
            before = self._active, self._switch.rows
            self._set(active)
            self._switch.rows = rows
            try:
                yield
            finally:
                self._set(before[0])
                self._switch.rows = before[1]

        return then

    @contextmanager
    def merged(self) -> Iterator[None]:
        """The active experts, as they are now, held ready for the block: many forward passes, no gradients.

        On a float32 base, those whose gate is the same for all requests are held as one matrix a layer with the base's;
        in bfloat16 that sum would round small experts away. The base's own weights are not touched. In the block other
        experts, or another gate of one whose gate was the same for all, are refused (ExpertError); a block within it holds
        what is held.
        """
        if self._held is not None:
            yield
            return
        gates = self._gates(self._active)
        try:
            for layer in self.layers:
                layer.hold(gates[0], _alike(gates) & (layer.base_layer.weight.dtype == torch.float32))
            self._held = self._active
            yield
        finally:
            self._held = None
            for layer in self.layers:
                layer.release()

    def serves(self, request: int) -> tuple[tuple[str, float], ...]:
        """The active experts that serve a request, each with its gate."""
        gates = self._active.gates
        weights = [1.0] * len(self.active) if gates is None else gates[request].tolist()
        return tuple((name, gate) for name, gate in zip(self.active, weights, strict=True) if gate > 0)

    @property
    def version(self) -> int:
        """Grows with every change of a LoRA weight."""
        return sum(
            layer.factors(name)[1]._version
            for layer in self.layers
            for name in self.forms
            if layer.holds(name)
        )

    def as_one(self, request: int) -> dict[str, tuple[Tensor, Tensor]]:
        """The experts that serve a request as one LoRA: by the layer's name in the model, A [R, in] and B [out, R] in the
        base's type, scales and gates in them, so that B A is what the layer adds. R is the same in all layers.
        """
        gates = self._active.gates
        found = {}
        for layer in self.layers:
            stack = layer.stack()
            if stack is None:
                continue
            a, b = stack.a, stack.b
            if gates is not None:
                columns = stack.layout.gates(gates[request : request + 1])[0, 0]
                a, b = a[columns > 0], (b * columns)[:, columns > 0]
            found[layer.layer_name] = a, b
        rank = max((len(a) for a, _ in found.values()), default=0)
        decoder = next(name for name, m in self.base.model.named_modules() if m is self.base.language_model)
        return {
            f"{decoder}.{name}": (
                functional.pad(a, (0, 0, 0, rank - len(a))),
                functional.pad(b, (0, rank - len(a))),
            )
            for name, (a, b) in found.items()
        }

    def lengths(self, sample: Sample) -> tuple[int, int]:
        """Tokens of a sample's prompt (the longer one, which asks to think; without the image's), and of its true answer."""
        prompts = self.prompts
        return prompts.text_tokens(thinking(sample)), len(prompts.answer(prompts.true_answer(sample)))

    def trainable(self, names: Iterable[str], max_rank: int | None = None) -> dict[str, Tensor]:
        """`expert::tensor` -> the live parameter, for all tensors of these experts that train and travel; of each B, a view
        of its first `max_rank` columns at most (None: of all).
        """
        found: dict[str, Tensor] = {}
        for name in sorted(names):
            self._known(name)
            for layer in self.layers:
                if layer.holds(name):
                    _, b = layer.factors(name)
                    found[layer.key(name)] = b if max_rank is None else b[:, :max_rank]
            if name == WSI:
                found[self._projector.out.key] = self._projector.out.weight
                found[f"{WSI}::projector.out.bias"] = self._projector.out.bias
            if name == ROUTER:
                found[self.router.key] = self.router.weight
        return found

    @torch.no_grad()
    def write(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set live parameters from `expert::tensor` -> value, and return them; where a B's value has fewer columns, its
        first are meant.

        ExpertError, and nothing changed, on an unknown key or a wrong shape.
        """
        ranks = [value.shape[-1] for key, value in values.items() if is_b(key) and value.dim() == 2]
        parameters = self.trainable({key.split("::")[0] for key in values}, max(ranks, default=None))
        for key, value in values.items():
            if key not in parameters or parameters[key].shape != value.shape:
                raise ExpertError(f"{key} of shape {tuple(value.shape)} is no tensor of these experts")
        return {key: parameters[key].copy_(value) for key, value in values.items()}

    def export(self, name: str) -> dict[str, np.ndarray]:
        """The expert's tensors that travel, float32, a copy."""
        return {
            key.split("::")[1]: parameter.detach().to("cpu", torch.float32).numpy().copy()
            for key, parameter in self.trainable([name]).items()
        }

    def load(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        """Set an expert from exported tensors; ExpertError, and nothing changed, unless names, shapes and
        values fit.
        """
        shapes = self.shapes(name)
        if set(tensors) != set(shapes):
            odd = sorted(set(tensors) ^ set(shapes))[:3]
            raise ExpertError(f"{name} does not have the tensors that this base gives it (differs in {odd})")
        for key, value in tensors.items():
            if tuple(value.shape) != shapes[key] or not np.isfinite(value).all():
                raise ExpertError(f"{name}::{key} has shape {value.shape}, must be finite and {shapes[key]}")
        self.write(
            {f"{name}::{key}": torch.from_numpy(np.array(v, np.float32)) for key, v in tensors.items()}
        )

    def initial(self, name: str) -> dict[str, np.ndarray]:
        """The public start of an expert, whatever has been loaded since: zeros, and the base's own
        projector.
        """
        tensors = {key: np.zeros(shape, np.float32) for key, shape in self.shapes(name).items()}
        if name == WSI:
            for key, value in self.base.projector.out.state_dict().items():
                tensors[f"projector.out.{key}"] = value.to("cpu", torch.float32).numpy().copy()
        return tensors

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Tensor name -> shape, of the tensors that travel."""
        return {key.split("::")[1]: tuple(p.shape) for key, p in self.trainable([name]).items()}

    def _set(self, active: Active) -> None:
        if self._held is not None and not self._serve(self._held, active):
            held, asked = (", ".join(each.experts) or "none" for each in (self._held, active))
            raise ExpertError(f"experts {held} are held, and {asked} were asked for, or other gates of them")
        self._active = active
        self._switch.experts = active.experts

    def _gates(self, active: Active) -> Tensor:
        """Gates [requests, experts]; one row where all are 1."""
        if active.gates is None:
            return torch.ones(1, len(active.experts), device=self.base.device)
        return active.gates

    def _serve(self, held: Active, asked: Active) -> bool:
        """Whether the held ones are those asked for: the gates of experts that were held apart may be others."""
        if held.experts != asked.experts:
            return False
        gates = self._gates(held)
        return bool((self._gates(asked) == gates[:1])[:, _alike(gates)].all())

    def _attached(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names that are attached; ExpertError for one that no expert has."""
        names = tuple(names)
        for name in names:
            if name not in EXPERTS:
                raise ExpertError(f"there is no expert {name!r}; there are {', '.join(EXPERTS)}")
        return tuple(name for name in names if name in self.names)

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise ExpertError(f"no expert {name!r} is attached; attached are {', '.join(self.names)}")


def _alike(gates: Tensor) -> Tensor:
    """Which experts, bool [experts], have one gate for all requests, [requests, experts]."""
    return (gates == gates[:1]).all(0)


def attach(base: Base, forms: Mapping[str, ExpertForm], seed: int) -> Experts:
    """Attach fresh experts of these forms, and a router, to a base, in place of any attached before; the base's own
    weights are not touched. ExpertError for a name that no LoRA expert has, or layers that the base has not.
    """
    unknown = sorted(set(forms) - set(EXPERTS) | {ROUTER} & set(forms))
    if unknown:
        known = ", ".join(name for name in EXPERTS if name != ROUTER)
        raise ExpertError(f"experts with a form are {known}; not {', '.join(unknown)}")
    adapters.remove(base.language_model)
    for name, form in forms.items():
        try:
            adapters.inject(base.language_model, name, form, ExpertLinear)
        except ValueError as error:
            raise ExpertError(f"{name} can't be attached to this base: {error}") from error
    return Experts(base, forms, seed)
