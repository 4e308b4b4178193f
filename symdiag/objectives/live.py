"""The live parameters of a user's Bayesian module, as differentiable means and stds.

The dialects that read checkpoints say which entries of a state dict are means and scales, and what turns a stored
scale into a std; here the same entries are taken as tensors that gradients flow into.
"""

from __future__ import annotations

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
from symdiag.formats.state_dict import dotted
from symdiag.posterior import Posterior

TorchTransform = Callable[[Tensor], Tensor]

_TRANSFORMS: dict[str, TorchTransform] = {
    "softplus": F.softplus,
    "exp": torch.exp,
    "identity": lambda std: std,
    "exp-half": lambda logvar: torch.exp(0.5 * logvar),
    "sqrt": torch.sqrt,
}


@dataclass(frozen=True)
class LiveTensor:
    """One tensor of the posterior: the parameter that is its mean, the one its std comes from (None: deterministic)."""

    name: str
    loc: Tensor
    stored_scale: Tensor | None
    transform: TorchTransform | None

    def scale(self) -> Tensor:
        """The std, differentiable; zeros for a deterministic weight."""
        if self.stored_scale is None or self.transform is None:
            return torch.zeros_like(self.loc)
        return self.transform(self.stored_scale)


def read_module(
    module: nn.Module, scale_transform: str | None = None
) -> tuple[Posterior, tuple[LiveTensor, ...]]:
    """The posterior that ``module`` holds now, and its live parameters in the same order.

    Args:
        module: Layers of bayesian-torch, blitz, torchbnn, torch-uncertainty, a Pyro guide, or hand-written ones.
        scale_transform: What turns the stored scale into a std, where names leave it open.

    Raises:
        InputError: The parameters are no posterior in any known convention.
        UnsupportedError: A parametrisation that is not differentiable here.
    """
    live = module.state_dict(keep_vars=True)
    tree = {key: _array(value) for key, value in live.items() if isinstance(value, Tensor)}
    raw = RawCheckpoint(path=type(module).__name__, sha256="", container="memory", tree=tree)
    posterior = interpret(raw, ReadOptions(scale_transform=scale_transform))
    assert posterior.source is not None
    fields: tuple[Field, ...] = posterior.source.template.fields
    by_name = {name: field for name, field in zip(posterior.names, fields, strict=True)}
    return posterior, tuple(_live(name, field, live) for name, field in by_name.items())


def _array(value: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    value = value.detach().cpu()
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = (
        value.float() if value.dtype == torch.bfloat16 else value
    ).numpy()
    return array


def _live(name: str, field: Field, live: dict[str, Tensor]) -> LiveTensor:
    loc = _used(field.loc, field.loc_copies, live)
    if field.scale is None or field.transform is None:
        return LiveTensor(name, loc.detach(), None, None)
    return LiveTensor(
        name,
        loc,
        _used(field.scale, field.scale_copies, live),
        torch_transform(field.transform.name),
    )


def _used(slot: Slot, copies: tuple[Slot, ...], live: dict[str, Tensor]) -> Tensor:
    """The parameter that the forward pass reads: of two over one storage (blitz), the sampler's copy."""
    if slot.start is not None:
        raise UnsupportedError(
            "a flat parameter vector has no live tensors per layer", code="unsupported"
        )
    return live[dotted((copies or (slot,))[-1].path)].reshape(slot.shape)


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
