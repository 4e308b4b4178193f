"""The trainable Gaussian: flat vectors for speed, named tensors for everyone else."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.arrays import Array
from symdiag.posterior import Posterior


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors inside a flat vector of ``size`` numbers (C order each)."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, posterior: Posterior, leave_out: Container[str] = ()) -> Layout:
        """The layout of a posterior's tensors, in file order, but for those left out."""
        return cls(tuple((n, s) for n, s in posterior.shapes.items() if n not in leave_out))

    @property
    def size(self) -> int:
        """Number of scalar weights."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """(..., size) → name → (..., *shape), as views."""
        pieces = torch.split(flat, [math.prod(shape) for _, shape in self.shapes], dim=-1)
        lead = flat.shape[:-1]
        return {
            name: piece.reshape((*lead, *shape))
            for (name, shape), piece in zip(self.shapes, pieces, strict=True)
        }

    def join(self, arrays: Mapping[str, Array]) -> Array:
        """Name → array (broadcast to its shape) → (size,)."""
        parts = [np.broadcast_to(arrays[name], shape).reshape(-1) for name, shape in self.shapes]
        return np.concatenate(parts) if parts else np.zeros(0)


@dataclass
class Variational:
    """A mean-field Gaussian under training: ``loc``, ``log_scale`` (D,) and the log noise std.

    ``free`` is None when every weight is random, else a 0/1 vector: deterministic weights stay.
    """

    layout: Layout
    loc: Tensor  # (D,)
    log_scale: Tensor  # (D,)
    log_noise: Tensor  # ()
    free: Tensor | None = None  # (D,)

    @classmethod
    def of(
        cls,
        posterior: Posterior,
        *,
        log_noise: float = 0.0,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        leave_out: Container[str] = (),
    ) -> Variational:
        """Start from ``posterior`` (marginal stds; correlations are not carried).

        Tensors of ``leave_out`` are no part of the training: ``posterior`` takes them as they are.
        """
        layout = Layout.of(posterior, leave_out)
        scale = layout.join(posterior.scale)
        random = scale > 0

        def leaf(values: NDArray[np.float64]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device, requires_grad=True)

        return cls(
            layout,
            leaf(layout.join(posterior.loc)),
            leaf(np.log(np.where(random, scale, 1.0))),
            leaf(np.asarray(log_noise)),
            None if random.all() else torch.tensor(random, dtype=dtype, device=device),
        )

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimiser updates."""
        return [self.loc, self.log_scale, self.log_noise]

    @property
    def scale(self) -> Tensor:
        """Stds (D,), 0 for deterministic weights."""
        scale = torch.exp(self.log_scale)  # log_scale is 0 where the std is 0: no gradient, no -inf
        return scale if self.free is None else scale * self.free

    def hold_fixed(self) -> None:
        """Drop the gradients of deterministic weights."""
        # means only: log_scale reaches the loss through factors of free, so its gradient is 0
        if self.free is not None and self.loc.grad is not None:
            self.loc.grad.mul_(self.free)

    def posterior(self, template: Posterior) -> Posterior:
        """``template`` with these means and stds, float64; tensors left out are the template's."""
        loc = self.layout.split(self.loc.detach().double().cpu())
        scale = self.layout.split(self.scale.detach().double().cpu())
        return template.replace(
            loc={**template.loc, **{n: value.numpy().copy() for n, value in loc.items()}},
            scale={**template.scale, **{n: value.numpy().copy() for n, value in scale.items()}},
            covariance=None,
        )
