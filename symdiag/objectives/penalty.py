"""``StraddlingPenalty``: H(g|ω) as one more term in anyone's own loss.

The dialects that read checkpoints say which entries of a state dict are means and scales, and what
turns a stored scale into a std; here the same entries of a module are taken as tensors that
gradients flow into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symdiag.errors import InputError, UnsupportedError, UsageError
from symdiag.formats import interpret
from symdiag.formats.fields import Field, Slot
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.tree import dotted
from symdiag.network.module import ModelSource
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.symmetry.spec import PermutationSpec

TorchTransform = Callable[[Tensor], Tensor]

_TRANSFORMS: dict[str, TorchTransform] = {
    "softplus": F.softplus,
    "exp": torch.exp,
    "identity": lambda std: std,
    "exp-half": lambda logvar: torch.exp(0.5 * logvar),
    "sqrt": torch.sqrt,
}


class StraddlingPenalty:
    """The straddling entropy of a Bayesian module, differentiable in its means and scales.

    Two lines turn an ELBO loss into the symmetrised one::

        penalty = StraddlingPenalty(model, activation="relu")
        loss = nll + kl + penalty()  # nll summed over the data set, or all three divided by its
        size

    Works on modules of bayesian-torch, blitz, torchbnn and torch-uncertainty, on Pyro's mean-field
    guides and on hand-written layers, found by the names of their parameters. The loss must carry
    the *whole* KL in nats: where a library averages it (docs/retraining.md), scale the penalty
    alike with ``weight``.

    Args:
        model: The module (for Pyro: the guide, once it has been set up by a first call).
        activation: Hidden activation, where the module cannot be traced; odd ones (tanh, ...) add
            sign flips. Unknown: permutations only.
        network: The network, where ``model`` is not the module that computes it (for Pyro: the
            model that the guide is for): a module, or what makes one. ``model`` is traced itself
            otherwise.
        assume_chain: Take the parameters for a plain chain where the module cannot be traced and
            other networks fit them as well.
        spec: The permutation spec, known already.
        scale_transform: What turns the stored scale into a std, where names leave it open.
        draws: Weight draws per call.
        weight: Factor on the result, for losses that are not in nats per data set.
        marginals: ``auto``, ``exact`` or ``mcmc``: how permanental marginals are had.
        seed: Seeds the penalty's own draws.

    Raises:
        InputError: No posterior found among the parameters, or no network.
        UsageError: ``network-assumed``: neither the module nor its parameters tell the network.
        UnsupportedError: Correlated weights, or units that have no permanent form.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        activation: str | None = None,
        network: ModelSource | None = None,
        assume_chain: bool = False,
        spec: PermutationSpec | None = None,
        scale_transform: str | None = None,
        draws: int = 8,
        weight: float = 1.0,
        marginals: str = "auto",
        seed: int = 0,
    ) -> None:
        posterior, self._tensors = read_module(model, scale_transform)
        if posterior.covariance is not None:
            raise UnsupportedError(
                "the weights are correlated under this posterior", code="correlated-posterior"
            )
        if spec is None:
            spec = _symmetry(model, network, posterior, activation, assume_chain, seed).spec
        # running statistics move with the units but are no random weights: H does not see them
        spec = spec.restricted(posterior.loc)
        self.spec = spec
        self.names = posterior.names
        self.draws, self.weight = draws, weight
        self._generator = np.random.default_rng(seed)
        layout = Variational.of(posterior, device=str(self._tensors[0].loc.device))
        self._layout = layout.layout
        self._groups = tuple(GroupTerm(group, layout, marginals) for group in spec)

    def __call__(self, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """H(g|ω) in nats (times ``weight``), a scalar; gradients flow into the module's parameters.

        Args:
            draws: The weights' own reparameterised draws, name → (*shape) or (S, *shape), for every
                tensor in ``names``; by default the penalty makes its own.

        Returns:
            Exact for these draws in groups of up to 10 units (``marginals="exact"``: any); in wider
            ones the gradient is unbiased up to mixing while the value is a lower bound on H (Bethe
            functional). For figures to report use ``symdiag.analyze``.
        """
        # float64 whatever the module's dtype: the matrix holds differences of large log densities
        loc = torch.cat([t.loc.reshape(-1) for t in self._tensors]).double()
        scale = torch.cat([t.scale().reshape(-1) for t in self._tensors]).double()
        flat = self._own_draws(loc, scale) if draws is None else self._flatten(draws)
        total = loc.new_zeros(())
        for group in self._groups:
            total = total + group(loc, scale, flat, self._generator)
        return (self.weight * total).to(self._tensors[0].loc.dtype)

    def _own_draws(self, loc: Tensor, scale: Tensor) -> Tensor:
        noise = self._generator.standard_normal((self.draws, loc.numel()))
        return loc + scale * torch.from_numpy(noise).to(loc)

    def _flatten(self, draws: Mapping[str, Tensor]) -> Tensor:
        missing = [name for name in self.names if name not in draws]
        if missing:
            raise UsageError(
                f"no draws given for {missing[0]}",
                code="usage",
                hint=f"All of: {', '.join(self.names)}.",
            )
        parts = []
        for name, shape in self._layout.shapes:
            value = draws[name]
            parts.append(
                (value if value.ndim > len(shape) else value[None]).reshape(-1, int(np.prod(shape)))
            )
        return torch.cat(parts, dim=1).double()


def _symmetry(
    model: nn.Module,
    network: ModelSource | None,
    posterior: Posterior,
    activation: str | None,
    assume_chain: bool,
    seed: int,
) -> Symmetry:
    """The groups of the module itself; of the chain its parameters form only where it tells none."""

    def found(source: ModelSource | None) -> Symmetry:
        return discover(
            posterior,
            activation=activation,
            model=source,
            assume_chain=assume_chain,
            generator=np.random.default_rng(seed),
        )

    if network is not None:
        return found(network)
    try:
        return found(model)
    except InputError as error:  # a guide, or a forward that cannot be followed
        chain = found(None)
        try:
            chain.provenance.require_groups("StraddlingPenalty")
        except UsageError as refusal:
            hint = "give network=MODULE, spec=SPEC, or assume_chain=True if it is a plain chain"
            raise UsageError(
                f"{refusal.message}; {error.message}", code=refusal.code, hint=hint
            ) from error
        return chain


@dataclass(frozen=True)
class ModuleTensor:
    """One tensor of the posterior, as parameters of the module.

    ``loc`` is its mean; its std comes from ``stored_scale`` (None: deterministic).
    """

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
    # keep_vars: the parameters themselves, not detached copies, or no gradient reaches them
    state = module.state_dict(keep_vars=True)
    tree = {key: _array(value) for key, value in state.items() if isinstance(value, Tensor)}
    raw = RawCheckpoint(path=type(module).__name__, sha256="", container="memory", tree=tree)
    posterior = interpret(raw, ReadOptions(scale_transform=scale_transform))
    assert posterior.source is not None
    fields: tuple[Field, ...] = posterior.source.template.fields
    by_name = {name: field for name, field in zip(posterior.names, fields, strict=True)}
    return posterior, tuple(_module_tensor(name, field, state) for name, field in by_name.items())


def _array(value: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    value = value.detach().cpu()
    # NumPy has no bfloat16
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = (
        value.float() if value.dtype == torch.bfloat16 else value
    ).numpy()
    return array


def _module_tensor(name: str, field: Field, state: dict[str, Tensor]) -> ModuleTensor:
    loc = _used(field.loc, field.loc_copies, state)
    if field.scale is None or field.transform is None:
        return ModuleTensor(name, loc.detach(), None, None)
    return ModuleTensor(
        name,
        loc,
        _used(field.scale, field.scale_copies, state),
        torch_transform(field.transform.name),
    )


def _used(slot: Slot, copies: tuple[Slot, ...], state: dict[str, Tensor]) -> Tensor:
    """The parameter that the forward pass reads: of two over one storage (blitz) the last."""
    if slot.start is not None:
        raise UnsupportedError(
            "a flat parameter vector has no tensors per layer", code="unsupported"
        )
    return state[dotted((copies or (slot,))[-1].path)].reshape(slot.shape)


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
