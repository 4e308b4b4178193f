"""The user's own module, as it is: loaded only on their wish, matched to the tensors of a
posterior.

A module, a class or function that makes one, or ``package.module:factory``; deterministic or
Bayesian. A Bayesian module runs at its means (``symdiag.network.noise``), its means set to the
weights asked for.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from symdiag.arrays import Array
from symdiag.errors import UnsupportedError, UsageError
from symdiag.network.example_inputs import as_arguments, as_taken, guessed_inputs
from symdiag.network.library_modules import made_plain
from symdiag.network.matching import match_names, match_posterior
from symdiag.network.noise import running
from symdiag.posterior import Posterior

ModelSource: TypeAlias = "str | nn.Module | type[nn.Module] | Callable[[], Any]"
"""``package.module:factory``, a module, or what makes one when called without arguments."""

_FACTORY_HINT = (
    "--model package.module:factory names a module, a class or a function without arguments that "
    "returns the torch module, or (module, example_input)"
)
_OUTPUT_HINT = (
    "its forward must return the outputs as a tensor, or a tuple, list or dict of tensors"
)


@dataclass(frozen=True)
class UserModel:
    """A module in evaluation mode, float64, one call's inputs, and the file's name of its tensors.

    ``names`` lists a Bayesian module's means, not its scales; ``samples`` says that it is one.
    """

    module: nn.Module
    example_inputs: tuple[Any, ...]
    names: Mapping[str, str]
    samples: bool = False

    def forward(self, weights: Mapping[str, Tensor], inputs: Any) -> Tensor:
        """Outputs with the given weights and buffers (names of the file), others as the factory
        left them.

        Weights with a leading draw axis (S, ...) give outputs (S, N, ...); ``inputs`` is one tensor
        or a tuple. Of several outputs (a tuple or dict) the first counts.

        Raises:
            UnsupportedError: ``model-mismatch`` when the module returns no tensor.
        """
        arguments = as_taken(inputs, self.example_inputs)
        mine = self._mine(weights)
        # one axis more than the module's own tensor has: that of the draws
        axes = {
            own: 0 if value.ndim > self._tensor(own).ndim else None for own, value in mine.items()
        }
        if 0 not in axes.values():
            return self._call(mine, arguments)
        try:
            # same: what the forward draws by itself must not differ between draws of the weights
            run = torch.func.vmap(self._call, in_dims=(axes, None), randomness="same")
            # fused attention has no rule for draws side by side, its plain products have
            with sdpa_kernel(SDPBackend.MATH):
                return run(mine, arguments)
        except RuntimeError:  # the module does something vmap has no rule for
            count = next(mine[own].shape[0] for own, axis in axes.items() if axis == 0)
            one = [
                {k: v if axes[k] is None else v[s] for k, v in mine.items()} for s in range(count)
            ]
            return torch.stack([self._call(draw, arguments) for draw in one])

    def all_outputs(self, weights: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Tensor:
        """Every number the module returns, in whichever output, as one vector; for weights without
        a draw axis.
        """
        results = self._run(self._mine(weights), inputs)
        return torch.cat([result.detach().double().reshape(-1) for result in results])

    @property
    def repeated(self) -> tuple[tuple[str, str], ...]:
        """(file's name, file's name of the same tensor seen first) of tensors that the module ties
        to another.
        """
        first = {id(self._tensor(own)): self.names[own] for own in self._untied()}
        pairs = ((theirs, first[id(self._tensor(own))]) for own, theirs in self.names.items())
        return tuple((again, known) for again, known in pairs if again != known)

    def _mine(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {own: weights[theirs] for own, theirs in self._untied().items() if theirs in weights}

    def _untied(self) -> dict[str, str]:
        """``names`` with each tensor once, however many names the module has for it."""
        first = {id(self._tensor(own)): own for own in reversed(list(self.names))}
        return {own: self.names[own] for own in self.names if first[id(self._tensor(own))] == own}

    def _tensor(self, name: str) -> Tensor:
        owner, _, last = name.rpartition(".")
        return getattr(self.module.get_submodule(owner), last)  # type: ignore[no-any-return]

    def _call(self, tensors: dict[str, Tensor], arguments: tuple[Any, ...]) -> Tensor:
        return self._run(tensors, arguments)[0]

    def _run(self, tensors: dict[str, Tensor], arguments: tuple[Any, ...]) -> list[Tensor]:
        """The outputs; of a Bayesian module those of the points, as others are divergences and the
        like.
        """
        shaped = {own: _as_stored(value, self._tensor(own)) for own, value in tensors.items()}
        with running(samples=self.samples):
            found = _tensors_in(
                torch.func.functional_call(self.module, shaped, arguments, tie_weights=True)
            )
        return outputs_of_points(found, arguments) if self.samples else found


def _tensors_in(result: Any) -> list[Tensor]:
    """The tensors a module returned, in order, from within tuples, lists and dicts.

    Raises:
        UnsupportedError: ``model-mismatch`` when there are none.
    """
    found = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    if not found:
        raise UnsupportedError(
            f"the module returns {type(result).__name__} without a tensor in it",
            code="model-mismatch",
            hint=_OUTPUT_HINT,
        )
    return found


def load_factory(target: str) -> Any:
    """The object that ``package.module:factory`` names; imports the user's code, on their explicit
    wish.

    Their folder stays on the import path: a factory or a forward may import from it when it runs.

    Raises:
        UsageError: ``bad-model-option`` when it cannot be imported or is neither module nor
            callable.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise UsageError(
            f"'{target}' is not package.module:factory", code="bad-model-option", hint=_FACTORY_HINT
        )
    here = str(Path.cwd())
    # console scripts, unlike python -m, do not put the working folder there
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's module may fail in any way
        message = f"cannot import '{target}': {_first_line(error)}"
        raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT) from error
    if not callable(factory):
        raise UsageError(f"'{target}' is not callable", code="bad-model-option", hint=_FACTORY_HINT)
    return factory


def user_model(source: ModelSource, posterior: Posterior, inputs: Array | None = None) -> UserModel:
    """The user's module, with the posterior's tensors matched to it by name and shape.

    Args:
        source: the module, or where it comes from; a live module is copied, never changed. What
            makes one may return ``(module, example_input)``; the example may be a tuple of
            arguments.
        posterior: the tensors the module must hold, deterministic or as means and scales.
        inputs: data (N, ...), which tell what the module takes where no example comes with it.

    Raises:
        UsageError: ``bad-model-option`` when the factory fails or returns something else.
        UnsupportedError: ``model-mismatch`` when names or shapes differ; ``example-input-needed``.
    """
    module, example = _built(source)
    module = _copied(module)
    # before eval and double: whatever it puts in must get both as well
    samples = made_plain(module)
    # running statistics and no dropout; float64, since densities are differences of large numbers
    module = module.eval().double()
    matched = match_posterior(module, posterior)
    names = match_names(module, posterior) if matched is None else matched
    model = UserModel(module, (), names, samples=samples or matched is not None)
    found = (
        as_arguments(example)
        if example is not None
        else guessed_inputs(module, inputs, samples=model.samples)
    )
    model = replace(model, example_inputs=found)
    if model.samples and _ignores_inputs(model):
        raise UnsupportedError(
            f"{type(module).__name__} computes nothing from its inputs: a guide, not a network",
            code="model-mismatch",
            hint="name the module that computes the network",
        )
    return model


def _ignores_inputs(model: UserModel) -> bool:
    """Whether outputs stay the same, to the last bit, for other inputs: at generic weights."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for own, theirs in model.names.items():
        shape = model._tensor(own).shape
        # positive, so that no activation of the rectifying kind is silent, and of variance' size
        weights[theirs] = torch.rand(shape, generator=generator, dtype=torch.float64) / max(
            1, shape[-1] if shape else 1
        )
    others = tuple(
        a + torch.rand(a.shape, generator=generator, dtype=a.dtype)
        if isinstance(a, Tensor) and a.is_floating_point()
        else a
        for a in model.example_inputs
    )
    # identity tells that nothing was there to vary: indices have no neighbouring values
    if all(a is b for a, b in zip(others, model.example_inputs, strict=True)):
        return False  # indices: taken on trust
    with torch.no_grad():
        outputs = [model.all_outputs(weights, x) for x in (model.example_inputs, others)]
    return torch.equal(*outputs)


def _built(source: ModelSource) -> tuple[nn.Module, Any]:
    """The module, and the example input that came with it."""
    factory = load_factory(source) if isinstance(source, str) else source
    built: Any = factory
    if not isinstance(factory, (nn.Module, tuple)):
        try:
            built = factory()
        except Exception as error:  # the user's code may raise anything
            message = f"the model factory failed: {_first_line(error)}"
            raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT) from error
    module, example = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(module, nn.Module):
        message = f"the model factory returned {type(module).__name__}, not a torch.nn.Module"
        raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT)
    return module, example


def _copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU. Results of earlier calls that layers keep (blitz) are copied without their
    graph.
    """
    kept = [value for part in module.modules() for value in tree_leaves(vars(part))]
    # deepcopy refuses tensors that are no leaves of a graph
    memo = {id(v): v.detach().clone() for v in kept if isinstance(v, Tensor) and not v.is_leaf}
    return copy.deepcopy(module, memo).cpu()


def _as_stored(value: Tensor, own: Tensor) -> Tensor:
    """``value`` in the shape in which the module holds it: a posterior may drop axes of length one."""
    return value if value.shape == own.shape else value.reshape(own.shape)


def outputs_of_points(found: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Those of a Bayesian module's outputs (or their shapes' owners) that say something per point.

    The first always does. Of the others, heads have a row for each point of the batch; divergences
    and the like have none.
    """
    batch = next((len(a) for a in arguments if isinstance(a, Tensor) and a.ndim), None)
    rest = [f for f in found[1:] if len(f.shape) > 1 and f.shape[0] == batch]
    return [*found[:1], *rest]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
