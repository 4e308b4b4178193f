"""The posterior that a module holds now, as tensors that gradients flow into.

The dialects that read checkpoints say which entries of a state dict are means and scales, and what
turns a stored scale into a std; here the same entries of a live module are looked up.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symdiag.errors import UnsupportedError
from symdiag.formats import interpret
from symdiag.formats.fields import Field, Slot
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.tree import dotted
from symdiag.posterior import Posterior

TorchTransform = Callable[[Tensor], Tensor]


def _identity(std: Tensor) -> Tensor:
    return std


def _exp_half(logvar: Tensor) -> Tensor:
    return torch.exp(0.5 * logvar)


_TRANSFORMS: dict[str, TorchTransform] = {
    "softplus": F.softplus,
    "exp": torch.exp,
    "identity": _identity,
    "exp-half": _exp_half,
    "sqrt": torch.sqrt,
}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lives in a module: looked up at every use, so that copies keep theirs apart.

    Attributes:
        path: Its key in the state dict.
        shape: The shape to read it in.
    """

    path: str
    shape: tuple[int, ...]

    def of(self, module: nn.Module) -> Tensor:
        """The parameter or buffer itself, reshaped."""
        owner, _, last = self.path.rpartition(".")
        try:
            part = module.get_submodule(owner)
            # not getattr: under Pyro that is the constrained value, not what is trained
            found: Tensor | None = part._parameters.get(last)
            if found is None:
                found = part._buffers.get(last)
        except AttributeError:
            found = None
        if found is None:  # a module that names the entries of its state dict itself
            found = module.state_dict(keep_vars=True)[self.path]
        return found if found.shape == self.shape else found.reshape(self.shape)


@dataclass(frozen=True)
class ModuleTensor:
    """One random (or deterministic: no ``scale_entry``) tensor of the posterior in a module."""

    name: str
    module: nn.Module
    loc_entry: Entry
    scale_entry: Entry | None
    transform: str | None

    @property
    def loc(self) -> Tensor:
        """The mean: the module's own parameter, or detached where it is not random."""
        loc = self.loc_entry.of(self.module)
        return loc.detach() if self.scale_entry is None else loc

    def scale(self) -> Tensor:
        """The std, differentiable; zeros for a deterministic weight."""
        if self.scale_entry is None or self.transform is None:
            return torch.zeros_like(self.loc)
        return torch_transform(self.transform)(self.scale_entry.of(self.module))


def read_module(
    module: nn.Module, scale_transform: str | None = None
) -> tuple[Posterior, tuple[ModuleTensor, ...]]:
    """The posterior that ``module`` holds now, and its parameters in the same order.

    Args:
        module: Layers of bayesian-torch, blitz, torchbnn, torch-uncertainty, a Pyro guide, or
            hand-written ones.
        scale_transform: What turns the stored scale into a std, where names leave it open.

    Raises:
        InputError: The parameters are no posterior in any known convention.
        UnsupportedError: A parametrisation that is not differentiable here.
    """
    state = module.state_dict()
    tree = {key: _array(value) for key, value in state.items() if isinstance(value, Tensor)}
    raw = RawCheckpoint(path=type(module).__name__, sha256="", container="memory", tree=tree)
    posterior = interpret(raw, ReadOptions(scale_transform=scale_transform))
    assert posterior.source is not None
    fields: tuple[Field, ...] = posterior.source.template.fields
    by_name = {name: field for name, field in zip(posterior.names, fields, strict=True)}
    return posterior, tuple(_module_tensor(name, field, module) for name, field in by_name.items())


def _array(value: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    value = value.detach().cpu()
    # NumPy has no bfloat16
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = (
        value.float() if value.dtype == torch.bfloat16 else value
    ).numpy()
    return array


def _module_tensor(name: str, field: Field, module: nn.Module) -> ModuleTensor:
    loc = _used(field.loc, field.loc_copies)
    if field.scale is None or field.transform is None:
        return ModuleTensor(name, module, loc, None, None)
    torch_transform(field.transform.name)  # refuses what cannot be trained through
    scale = _used(field.scale, field.scale_copies)
    return ModuleTensor(name, module, loc, scale, field.transform.name)


def _used(slot: Slot, copies: tuple[Slot, ...]) -> Entry:
    """The parameter that the forward pass reads: of two over one storage (blitz) the last."""
    if slot.start is not None:
        raise UnsupportedError(
            "a flat parameter vector has no tensors per layer", code="unsupported"
        )
    return Entry(dotted((copies or (slot,))[-1].path), tuple(slot.shape))


@functools.cache
def torch_transform(name: str) -> TorchTransform:
    """The differentiable form of a named scale transform; UnsupportedError where there is none."""
    if name in _TRANSFORMS:
        return _TRANSFORMS[name]
    shifted = re.fullmatch(r"([0-9.e+-]+)\+softplus", name)
    if shifted:
        floor = float(shifted[1])
        return lambda rho: floor + F.softplus(rho)
    bounded = re.fullmatch(r"sigmoid\(([0-9.e+-]+),([0-9.e+-]+)\)", name)
    if bounded:
        lower, upper = float(bounded[1]), float(bounded[2])
        return lambda rho: lower + (upper - lower) * torch.sigmoid(rho)
    raise UnsupportedError(f"stds stored as '{name}' cannot be trained through", code="unsupported")
