"""What a training objective must provide. A new one is one new module of this package defining ``build``."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from symdiag.objectives.variational import Variational


class Objective(Protocol):
    """A term added to −L, nats: E log p(y|ω) − KL − term is what training maximises, up to a constant."""

    name: str

    def term(self, q: Variational, draws: Tensor, generator: np.random.Generator) -> Tensor:
        """The term for reparameterised draws (S, D), averaged over them; its gradient is what matters.

        ``generator`` drives whatever the term samples beside the weights.
        """
        ...
