"""Experts on the frozen base: named LoRA stacks on the language model, and the slide projector of
`scale/wsi`.

FFA-LoRA: `lora_A` is a public function of base hash, expert, layer and seed, and frozen; `lora_B` (zeros at
first) trains and travels. Which experts are active follows from a request's scale and task.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from client.model.base import Base
from client.model.deterministic import uniform
from client.model.errors import ExpertError
from client.model.expert_linear import ExpertLinear
from client.model.projector import Projector
from client.model.prompt_tokens import PromptBuilder
from privacy.experts import EXPERTS

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WSI = "scale/wsi"
KINDS = ("scale/", "task/")


class Experts:
    """The experts attached to one base; made by `attach`. At most one scale and one task expert is active."""

    def __init__(self, base: Base, names: Sequence[str], rank: int, alpha: float, seed: int) -> None:
        self.base = base
        self.names = tuple(names)
        self.rank, self.alpha, self.seed = rank, alpha, seed
        self.layers: list[ExpertLinear] = []
        for name, module in base.language_model.named_modules():
            if isinstance(module, ExpertLinear):
                module.layer_name = name
                self.layers.append(module)
        self._projector: Projector = copy.deepcopy(base.projector)
        self._projector.out.layer_key = f"{WSI}::projector.out"
        self._active: tuple[str, ...] = ()
        self.prompts = PromptBuilder(base)
        for layer in self.layers:
            layer.requires_grad_(False)
            bound = layer.base_layer.in_features**-0.5
            for name in self.names:
                a, b = layer.factors(name)
                start = uniform(f"{base.hash}/{name}/{layer.layer_name}/{seed}", tuple(a.shape), bound)
                a.data = start.to(device=base.device, dtype=layer.base_layer.weight.dtype)
                b.data = torch.zeros_like(b, device=base.device, dtype=layer.base_layer.weight.dtype)
        self.activate(None, None)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the active experts, the scale expert first."""
        return self._active

    @property
    def projector(self) -> Projector:
        """The slide projector of the active scale expert; the base's own where `scale/wsi` is off."""
        return self._projector if WSI in self._active else self.base.projector

    @property
    def recorders(self) -> list[nn.Module]:
        """The modules whose parameters train: what a gradient tape attaches to."""
        return [*self.layers, self._projector.out]

    def activate(self, scale: str | None, task: str | None) -> None:
        """Make `scale/<scale>` and `task/<task>` active (None: none of the kind) and all others inactive."""
        active = tuple(
            f"{kind}/{name}" for kind, name in (("scale", scale), ("task", task)) if name is not None
        )
        for name in active:
            self._known(name)
        self._active = active
        for layer in self.layers:
            layer._active_adapter = list(active)  # peft's set_adapter would also make them trainable
            layer._disable_adapters = not active

    @contextmanager
    def only(self, scale: str | None, task: str | None) -> Iterator[None]:
        """`activate`, undone at the end."""
        before = self._active
        self.activate(scale, task)
        try:
            yield
        finally:
            self.activate(
                *(next((n.split("/")[1] for n in before if n.startswith(kind)), None) for kind in KINDS)
            )

    @contextmanager
    def merged(self) -> Iterator[None]:
        """The active experts held as one matrix a layer with the base's, for the block: many forward
        passes, no gradients.

        Only where the base is float32; in bfloat16 the sum would round small experts away, and nothing is
        merged. The base's own weights are not touched.
        """
        merge = self.layers[0].base_layer.weight.dtype == torch.float32
        try:
            for layer in self.layers if merge else ():
                layer.merge_active()
            yield
        finally:
            for layer in self.layers:
                layer.whole = None

    def trainable(self, names: Iterable[str]) -> dict[str, Tensor]:
        """`expert::tensor` -> the live parameter, for all tensors of these experts that train and travel."""
        found: dict[str, Tensor] = {}
        for name in sorted(names):
            self._known(name)
            for layer in self.layers:
                found[layer.key(name)] = layer.factors(name)[1]
            if name == WSI:
                found[f"{WSI}::projector.out.weight"] = self._projector.out.weight
                found[f"{WSI}::projector.out.bias"] = self._projector.out.bias
        return found

    @torch.no_grad()
    def write(self, values: Mapping[str, Tensor]) -> None:
        """Set live parameters from `expert::tensor` -> value; ExpertError on an unknown key or a wrong
        shape.
        """
        parameters = self.trainable({key.split("::")[0] for key in values})
        for key, value in values.items():
            if key not in parameters or parameters[key].shape != value.shape:
                raise ExpertError(f"{key} of shape {tuple(value.shape)} is no tensor of these experts")
        for key, value in values.items():
            parameters[key].copy_(value)

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
        """The public start of an expert, whatever has been loaded since: zero B, and the base's own
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

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise ExpertError(f"no expert {name!r} is attached; attached are {', '.join(self.names)}")


def attach(base: Base, names: Sequence[str], rank: int, alpha: float, seed: int) -> Experts:
    """Attach fresh experts to a base, in place of any attached before; the base's own weights are not
    touched.
    """
    unknown = sorted(set(names) - set(EXPERTS))
    if unknown or not names or len(set(names)) != len(names):
        raise ExpertError(f"experts are each once of {', '.join(EXPERTS)}; got {', '.join(names) or 'none'}")
    if rank < 1 or alpha <= 0:
        raise ExpertError(f"rank is at least 1 and alpha above 0; got {rank} and {alpha}")
    detach(base)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft takes any number
        target_modules=list(LAYERS),
        lora_dropout=0.0,
        bias="none",
    )
    config._register_custom_module({nn.Linear: ExpertLinear})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # a stack is what we want
        for name in names:
            inject_adapter_in_model(config, base.language_model, adapter_name=name)
    return Experts(base, names, rank, alpha, seed)


def detach(base: Base) -> None:
    """Take all experts off a base: its layers are the very ones that were loaded."""
    for parent in list(base.language_model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ExpertLinear):
                setattr(parent, name, child.base_layer)
    if hasattr(base.language_model, "peft_config"):
        del base.language_model.peft_config
