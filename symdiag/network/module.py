"""The user's own module: loaded only on the explicit ``--model`` option, matched to the file's tensors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from symdiag.errors import UnsupportedError, UsageError
from symdiag.posterior import Posterior

_FACTORY_HINT = "--model package.module:factory names a function without arguments that returns the plain torch module"
_OUTPUT_HINT = (
    "its forward must return the outputs as a tensor, or a tuple, list or dict of tensors"
)
_SPATIAL_SIZES = (8, 16, 28, 32, 64, 96, 224)


@dataclass(frozen=True)
class UserModel:
    """A module in evaluation mode, float64, one call's inputs, and the file's name of each of its tensors."""

    module: nn.Module
    example_inputs: tuple[Any, ...]
    names: Mapping[str, str]

    def forward(self, weights: Mapping[str, Tensor], inputs: Any) -> Tensor:
        """Outputs with the given weights and buffers (names of the file), others as the factory left them.

        Weights with a leading draw axis (S, ...) give outputs (S, N, ...); ``inputs`` is one tensor or a tuple. Of
        several outputs (a tuple or dict) the first counts.

        Raises:
            UnsupportedError: ``model-mismatch`` when the module returns no tensor.
        """
        arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        mine = self._mine(weights)
        axes = {
            own: 0 if value.ndim > self._tensor(own).ndim else None for own, value in mine.items()
        }
        if 0 not in axes.values():
            return self._call(mine, arguments)
        try:
            return torch.func.vmap(self._call, in_dims=(axes, None))(mine, arguments)
        except RuntimeError:  # the module does something vmap has no rule for
            count = next(mine[own].shape[0] for own, axis in axes.items() if axis == 0)
            one = [
                {k: v if axes[k] is None else v[s] for k, v in mine.items()} for s in range(count)
            ]
            return torch.stack([self._call(draw, arguments) for draw in one])

    def all_outputs(self, weights: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Tensor:
        """Every number the module returns, in whichever output, as one vector; for weights without a draw axis."""
        results = _tensors_in(
            torch.func.functional_call(self.module, self._mine(weights), inputs, tie_weights=True)
        )
        return torch.cat([result.detach().double().reshape(-1) for result in results])

    @property
    def repeated(self) -> tuple[tuple[str, str], ...]:
        """(file's name, file's name of the same tensor seen first) of tensors that the module ties to another."""
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
        return _tensors_in(
            torch.func.functional_call(self.module, tensors, arguments, tie_weights=True)
        )[0]


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
    """The object that ``package.module:factory`` names; imports the user's code, so only ever on their explicit wish.

    Raises:
        UsageError: ``bad-model-option`` when it cannot be imported or is not callable.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise UsageError(
            f"'{target}' is not package.module:factory", code="bad-model-option", hint=_FACTORY_HINT
        )
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's module may fail in any way
        message = f"cannot import '{target}': {_first_line(error)}"
        raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT) from error
    finally:
        if added:
            sys.path.remove(here)
    if not callable(factory):
        raise UsageError(f"'{target}' is not callable", code="bad-model-option", hint=_FACTORY_HINT)
    return factory


def user_model(factory: Any, posterior: Posterior) -> UserModel:
    """The module a factory builds, with the posterior's tensors matched to it by name and shape.

    Args:
        factory: returns a module, or ``(module, example_input)``; the example may be a tuple of arguments.
        posterior: the tensors the module must hold.

    Raises:
        UsageError: ``bad-model-option`` when the factory fails or returns something else.
        UnsupportedError: ``model-mismatch`` when names or shapes differ; ``example-input-needed``.
    """
    try:
        built = factory()
    except Exception as error:  # the user's code may raise anything
        message = f"the model factory failed: {_first_line(error)}"
        raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT) from error
    module, example = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(module, nn.Module):
        message = f"the model factory returned {type(module).__name__}, not a torch.nn.Module"
        raise UsageError(message, code="bad-model-option", hint=_FACTORY_HINT)
    module = module.eval().double()
    names = match_names(module, posterior)
    inputs = _as_arguments(example) if example is not None else _guess_inputs(module)
    return UserModel(module, inputs, names)


def match_names(module: nn.Module, posterior: Posterior) -> dict[str, str]:
    """Module tensor → the file's name for it: the same name, or the same with a prefix on one side.

    Raises:
        UnsupportedError: ``model-mismatch`` naming the first tensors that do not fit.
    """
    own = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
    buffers = {name: tuple(b.shape) for name, b in module.named_buffers(remove_duplicate=False)}
    theirs = {
        **posterior.shapes,
        **{name: value.shape for name, value in posterior.buffers.items()},
    }
    names = _by_prefix(own, theirs)
    names |= {k: v for k, v in _by_prefix(buffers, theirs).items() if k not in names}
    tied = _tied_names(module, names)
    missing = [name for name in own if name not in names and name not in tied]
    unused = [name for name in posterior.names if name not in set(names.values())]
    wrong = [n for n, t in names.items() if {**own, **buffers}[n] != theirs[t]]
    if missing or unused or wrong:
        raise UnsupportedError(
            _mismatch(
                missing, unused, wrong, {**own, **buffers}, {n: theirs[names[n]] for n in wrong}
            ),
            code="model-mismatch",
            hint="the factory must build a plain torch module with the file's tensor names and shapes",
        )
    return names


def _mismatch(
    missing: Sequence[str],
    unused: Sequence[str],
    wrong: Sequence[str],
    own: Mapping[str, Any],
    theirs: Mapping[str, Any],
) -> str:
    parts = [
        f"{name} is {own[name]} in the module and {theirs[name]} in the file" for name in wrong[:2]
    ]
    parts += [f"the file lacks {', '.join(missing[:3])}"] if missing else []
    parts += [f"the module lacks {', '.join(unused[:3])}"] if unused else []
    return "the module does not fit the file: " + "; ".join(parts)


def _by_prefix(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, str]:
    """The matching by name that covers most tensors, over prefixes seen on either side."""
    best = {name: name for name in own if name in theirs}
    for name in own:
        for other in theirs:
            if other != name and other.endswith("." + name):
                prefix = other[: -len(name)]
                found = {n: prefix + n for n in own if prefix + n in theirs}
            elif other != name and name.endswith("." + other):
                prefix = name[: -len(other)]
                found = {
                    n: n[len(prefix) :]
                    for n in own
                    if n.startswith(prefix) and n[len(prefix) :] in theirs
                }
            else:
                continue
            best = max(best, found, key=len)
        if len(best) == len(own):
            break
    return best


def _tied_names(module: nn.Module, names: Mapping[str, str]) -> set[str]:
    """Module names that share a tensor with one the file holds."""
    held = {id(p) for n, p in module.named_parameters(remove_duplicate=False) if n in names}
    return {n for n, p in module.named_parameters(remove_duplicate=False) if id(p) in held}


def _as_arguments(example: Any) -> tuple[Any, ...]:
    arguments = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    return tuple(
        a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments
    )


def _guess_inputs(module: nn.Module) -> tuple[Any, ...]:
    """A batch of two that the module accepts, from its first layer; spatial sizes are tried in turn."""
    for candidate in _candidates(module):
        try:
            with torch.no_grad():
                module(candidate)
        except Exception:  # noqa: S112 - any failure means: not this shape
            continue
        return (candidate,)
    raise UnsupportedError(
        "the shape of the module's input could not be found out",
        code="example-input-needed",
        hint="let the factory return (module, example_input)",
    )


def _candidates(module: nn.Module) -> list[Tensor]:
    first = next(
        (
            m
            for m in module.modules()
            if isinstance(m, (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd))
        ),
        None,
    )
    if isinstance(first, nn.Linear):
        return [
            torch.zeros(2, first.in_features).double(),
            torch.zeros(2, 3, first.in_features).double(),
        ]
    if isinstance(first, nn.Embedding):
        tokens = (
            torch.arange(10).reshape(2, 5) % first.num_embeddings
        )  # differing: equal ones would hide attention
        return [tokens, tokens[:, 0]]
    if first is not None:
        rank = len(first.kernel_size)
        return [
            torch.zeros(2, first.in_channels, *(size,) * rank).double() for size in _SPATIAL_SIZES
        ]
    parameter = next((p for p in module.parameters() if p.ndim == 2), None)
    return [
        torch.zeros(2, size).double() for size in (parameter.shape if parameter is not None else ())
    ]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
