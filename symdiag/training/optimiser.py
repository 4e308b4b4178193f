"""Adam over the variational parameters, with its state as plain tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from symdiag.objectives.variational import Variational
from symdiag.training.state import copy_tensors, restore


class Optimiser:
    """Fused Adam (Kingma & Ba 2015) on the flat vectors of ``q``.

    Args:
        q: What is trained, in place.
        learn_noise: Whether the noise std is trained too.
    """

    def __init__(self, q: Variational, *, learn_noise: bool) -> None:
        self.q = q
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
        self.q.hold_fixed()
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()

    def gradient_norm(self) -> float:
        """Euclidean norm over all parameters; not finite if any gradient is not."""
        squares = [p.grad.double().square().sum() for p in self.parameters if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt())

    def tensors(self) -> dict[str, Tensor]:
        """Copies of parameters and moments."""
        return copy_tensors(self._live())

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from copies."""
        restore(tensors, self._live())

    def _live(self) -> dict[str, Tensor]:
        live = {"loc": self.q.loc, "log_scale": self.q.log_scale, "log_noise": self.q.log_noise}
        for index, p in enumerate(self.parameters):
            live.update(
                {f"adam.{index}.{key}": value for key, value in self._adam.state[p].items()}
            )
        return live
