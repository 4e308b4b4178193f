"""Evaluates every group, the coupling bounds and the joint sandwich on batches of weight draws."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.errors import UsageError
from symdiag.estimators.decoding import Decoder, decoded_values
from symdiag.estimators.joint import JointSandwich, enumerable, rest_of
from symdiag.estimators.layerwise import chain_values, coupled, group_values
from symdiag.estimators.relabelling import SMALL
from symdiag.estimators.values import DrawValues, add
from symdiag.permanents import Effort
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, PermutationSpec

SANDWICH_ELEMENTS, FEW_ELEMENTS = 64, 16
"""Elements of the joint sandwich for small nets (where both chain orders are tried, too) and for
others.
"""

_CLOSED = 0.01  # nats per draw between ends at which the joint sandwich has nothing to add


@dataclass(frozen=True)
class Batch:
    """Values of one batch: per group on every draw, brackets of the total on the first draws only."""

    groups: dict[str, DrawValues]
    chains: tuple[DrawValues, ...]  # upper bounds on the joint: by coupling, by decoding
    joint: DrawValues | None


class StraddlingEstimator:
    """Evaluates all groups on batches of weight draws."""

    def __init__(
        self, posterior: Posterior, spec: PermutationSpec, *, effort: Effort, device: str = "cpu"
    ) -> None:
        self.posterior, self.spec, self.effort, self.device = posterior, spec, effort, device
        touched = dict.fromkeys(m.tensor for g in spec for m in g.members)
        self.loc = {n: self._tensor(posterior.loc[n]) for n in touched}
        self.scale = {n: self._tensor(posterior.scale[n]) for n in touched}
        self.direct = posterior.is_mean_field and all(g.is_matrix_permanent for g in spec)
        self.coupled = coupled(spec)
        self.small = sum(g.width for g in spec) <= SMALL
        self.elements = SANDWICH_ELEMENTS if self.small else FEW_ELEMENTS
        self.wants_joint = len(spec) > 0 and (self.coupled or not self.direct)
        self.enumerated = self.wants_joint and enumerable(rest_of(posterior, spec))
        chained = self.coupled and self.direct and not self.enumerated
        self.decodes = chained
        # wide layers: what dropping tensors costs is out of proportion to what decoding does
        self.orders = (spec.groups, spec.groups[::-1]) if chained and self.small else ()
        indirect = [g for g in spec if not (posterior.is_mean_field and g.is_matrix_permanent)]
        self.singles = {g.name: JointSandwich(posterior, PermutationSpec((g,))) for g in indirect}

    @functools.cached_property
    def joint(self) -> JointSandwich:
        """The joint sum or sandwich; made on first use, for it holds several copies of the
        posterior.
        """
        return JointSandwich(self.posterior, self.spec)

    @functools.cached_property
    def decoder(self) -> Decoder:
        """Finds the labels of all groups; made on first use."""
        return Decoder(self.spec, *map(self._host, (self.loc, self.scale)))

    def _tensor(self, array: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def draws(self, generator: np.random.Generator, count: int) -> dict[str, Tensor]:
        """``count`` weight draws as tensors, name → (S, *shape)."""
        correlated = (
            self.posterior.covariance.order if self.posterior.covariance is not None else ()
        )
        needed = {
            *self.loc,
            *correlated,
        }  # the true density of one correlated weight involves all of them
        return self.tensors(
            {n: v for n, v in self.posterior.sample(generator, count).items() if n in needed}
        )

    def tensors(self, draws: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Draws as tensors on the device."""
        return {n: self._tensor(v) for n, v in draws.items()}

    def evaluate(
        self,
        draws: Mapping[str, Tensor],
        generator: np.random.Generator,
        *,
        certify: bool,
        chain_draws: int = 0,
        joint_draws: int = 0,
    ) -> Batch:
        """Every group on all draws; coupling bounds and joint sandwich on as many of the first as
        asked for.
        """
        groups = {g.name: self.one_group(g, draws, generator, certify) for g in self.spec}
        chains = (
            self._chains(groups, _first(draws, chain_draws), generator, certify)
            if chain_draws > 0
            else ()
        )
        joint = None
        if joint_draws > 0 and len(self.spec) == 1 and self.singles:
            # the only group is the whole group: its sandwich is the joint one
            joint = next(iter(groups.values())).first(joint_draws)
        elif (
            self.wants_joint and joint_draws > 0 and not (self.decodes and _closed(chains, groups))
        ):
            joint = self.joint(self._host(_first(draws, joint_draws)), self.elements, generator)
        return Batch(groups, chains, joint)

    def _host(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in draws.items()}

    def one_group(
        self,
        group: Group,
        draws: Mapping[str, Tensor],
        generator: np.random.Generator,
        certify: bool,
        tensors: Sequence[str] | None = None,
    ) -> DrawValues:
        """One group with every other at the identity; ``tensors`` as in ``group_values``."""
        if group.name in self.singles:
            return self.singles[group.name](self._host(draws), SANDWICH_ELEMENTS, generator)
        return group_values(
            group,
            self.loc,
            self.scale,
            draws,
            generator=generator,
            effort=self.effort,
            certify=certify,
            tensors=tensors,
        )

    def _chains(
        self,
        groups: Mapping[str, DrawValues],
        draws: Mapping[str, Tensor],
        generator: np.random.Generator,
        certify: bool,
    ) -> tuple[DrawValues, ...]:
        count = len(next(iter(draws.values())))
        known = {name: values.first(count) for name, values in groups.items()}

        def values(
            group: Group, draws: Mapping[str, Tensor], tensors: Sequence[str] | None
        ) -> DrawValues:
            return self.one_group(group, draws, generator, certify, tensors)

        chains = [chain_values(order, known, draws, values) for order in self.orders]
        if self.decodes:
            found = self.decoder(self._host(draws), generator)
            chains.append(decoded_values(self.spec, found, known, draws, values))
        return tuple(chains)


def _closed(chains: Sequence[DrawValues], groups: Mapping[str, DrawValues]) -> bool:
    """Whether decoding, the last of the chains, leaves nothing between Σ_l and the joint entropy."""
    if not chains:
        return False
    upper = chains[-1].expectation.upper
    lower = add(list(groups.values())).value[: len(upper)]
    return bool((upper - lower <= _CLOSED).all())


def _first(draws: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: value[:count] for name, value in draws.items()}


def check_device(device: str) -> None:
    """Refuse a device that is unknown or not there.

    Raises:
        UsageError: ``bad-option`` for anything but cpu, or a CUDA device that this machine has.
    """
    if device == "cpu":
        return
    found = re.fullmatch(r"cuda(?::(\d+))?", device)
    if found is None:
        raise UsageError(
            f"unknown --device {device!r}", code="bad-option", hint="cpu, cuda or cuda:N"
        )
    count = torch.cuda.device_count()
    if int(found[1] or 0) >= count:
        has = (
            f"only {count} CUDA device{'s' if count > 1 else ''}"
            if count
            else "no CUDA device that torch can use"
        )
        raise UsageError(
            f"--device {device}: this machine has {has}", code="bad-option", hint="use --device cpu"
        )
