"""Adam over the variational parameters, its learning rate, and its state as plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from symdiag.objectives.variational import Variational


class Optimiser:
    """Fused Adam (Kingma & Ba 2015) on the flat vectors of ``q``.

    Args:
        q: What is trained, in place.
        learn_noise: Whether the noise std is trained too.
    """

    def __init__(self, q: Variational, *, learn_noise: bool) -> None:
        self.q = q
        # the log noise is the last of the three
        self.parameters = q.parameters if learn_noise else q.parameters[:2]
        self._adam = torch.optim.Adam(self.parameters, fused=True)
        for p in self.parameters:  # so that the state exists before the first step
            self._adam.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self, learning_rate: float) -> None:
        """One update at the given rate; deterministic weights stay put."""
        # gradients of zero keep Adam's moments at zero: these weights then never move
        self.q.hold_fixed()
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()

    def gradient_norm(self) -> float:
        """Euclidean norm over all parameters; not finite if any gradient is not."""
        # float64: squares overflow single precision long before the gradient does
        squares = [p.grad.double().square().sum() for p in self.parameters if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt())

    def tensors(self) -> dict[str, Tensor]:
        """Independent CPU copies of parameters and moments."""
        return {
            name: value.detach().to("cpu", copy=True) for name, value in self._by_name().items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from such copies."""
        with torch.no_grad():
            for name, value in self._by_name().items():
                value.copy_(tensors[name])

    def _by_name(self) -> dict[str, Tensor]:
        named = {"loc": self.q.loc, "log_scale": self.q.log_scale, "log_noise": self.q.log_noise}
        for index, p in enumerate(self.parameters):
            named.update(
                {f"adam.{index}.{key}": value for key, value in self._adam.state[p].items()}
            )
        return named


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Rate of update ``step`` of ``steps`` (from 0): linear warm-up, then cosine decay to zero.

    >>> [round(learning_rate(t, 10, 1.0, 0.2), 3) for t in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    ramp = round(warmup * steps)
    if step < ramp:
        # from 1 / ramp on: an update at rate 0 would be wasted
        return peak * (step + 1) / ramp
    progress = (step - ramp) / max(1, steps - ramp)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
