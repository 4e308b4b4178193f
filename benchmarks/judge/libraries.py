"""Posteriors trained by the libraries, with their documented losses: is the cause named? ``python -m benchmarks.judge.libraries run [WORD ...]``, then ``table``.

A net of one hidden layer of 20 (tanh) of each library's own modules, on the study's wave (mean squared error, prior std 1) and wine (cross entropy,
prior std .1), minibatches of 20 by a shuffled ``DataLoader``, 8000 steps of Adam at .02 with a rate that falls to 0. The ``state_dict`` is saved and
read by ``analyze`` with the data, the module and the batch size. The wave is read twice: without a noise std, as its loss has none, and with the one
that made the data.

bayesian-torch's README: mean loss + ``get_kl_loss(model)``/batch size. torchbnn's examples: mean loss + .1 (also .01) times ``BKLLoss(reduction="mean")``.
torch-uncertainty's docs: ``ELBOLoss`` with ``kl_weight`` 1/N. blitz: ``sample_elbo`` with its default ``complexity_cost_weight`` 1 (the README's
regression) or 1/N (its LSTM example). Draws of the loss per step: 16 for torchbnn (``vmap``) and bayesian-torch (its Flipout layers on repeated rows; several
calls before one backward would share their noise), 3 for torch-uncertainty, 1 for blitz.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.judge.meter import NOISE, Case
from symdiag import analyze

RESULTS = Path(__file__).parent / "results" / "libraries.jsonl"
HIDDEN, BATCH, STEPS, DRAWS, RATE = 20, 20, 8_000, 16, 2e-2

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Data with their loss, and the std of the prior."""

    kind: str
    sizes: tuple[int, int]  # inputs, outputs
    points: int
    prior: float
    criterion: nn.Module

    def data(self) -> tuple[Tensor, Tensor]:
        """In single precision, as modules are."""
        x, y = Case(self.kind, "tanh", BATCH).data()
        return x.float(), y.float() if self.kind == "wave" else y

    @property
    def tensors(self) -> tuple[int, ...]:
        """Sizes of weights and biases."""
        return (self.sizes[0] * HIDDEN, HIDDEN, HIDDEN * self.sizes[1], self.sizes[1])


PROBLEMS = (
    Problem("wave", (1, 1), 80, 1.0, nn.MSELoss()),
    Problem("wine", (13, 3), 120, 0.1, nn.CrossEntropyLoss()),
)


@dataclass(frozen=True)
class Spelling:
    """A documented loss: what it should be read as, and how it is made.

    ``factor`` is w of mean loss + w · (KL as ``spread``) for N points; ``cause`` the name that is right.
    """

    library: str
    words: str
    cause: str
    factor: Callable[[int], float]
    spread: str = "summed"  # or a mean over what
    reduction: str = "sum"

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.library}: {self.words}"


SPELLINGS = (
    Spelling(
        "bayesian-torch",
        "get_kl_loss / batch size",
        "full-per-batch",
        lambda n: 1 / BATCH,
        "tensors",
    ),
    Spelling(
        "torchbnn",
        "0.1 · BKLLoss mean",
        "mean-over-weights",
        lambda n: 0.1,
        "weights",
        "mean",
    ),
    Spelling("torchbnn", "BKLLoss mean", "mean-over-weights", lambda n: 1.0, "weights", "mean"),
    Spelling("torchbnn", "BKLLoss sum / N", "elbo", lambda n: 1 / n),
    Spelling("torchbnn", "BKLLoss sum / batch size", "full-per-batch", lambda n: 1 / BATCH),
    Spelling(
        "torch-uncertainty",
        "ELBOLoss, kl_weight 1/N",
        "mean-over-layers",
        lambda n: 1 / n,
        "layers",
    ),
    Spelling(
        "torch-uncertainty",
        "ELBOLoss, kl_weight 1/batch size",
        "mean-over-layers",
        lambda n: 1 / BATCH,
        "layers",
    ),
    Spelling("blitz", "sample_elbo, complexity_cost_weight 1/N", "elbo", lambda n: 1 / n),
    Spelling("blitz", "sample_elbo as by default", "not-per-point", lambda n: 1.0),
)


def load(name: str) -> Any:
    """A library's module, whatever it warns of; torchvision's compiled operators may be missing."""
    register = torch.library.register_fake

    def without_vision(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *args, **kwargs)

    torch.library.register_fake = without_vision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    finally:
        torch.library.register_fake = register


def bayesian_torch(spelling: Spelling, problem: Problem) -> tuple[nn.Module, Loss]:
    """A network of torch's turned into one of theirs."""
    module = load("bayesian_torch.models.dnn_to_bnn")
    model = nn.Sequential(
        nn.Linear(problem.sizes[0], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, problem.sizes[1])
    )
    options = {"prior_mu": 0.0, "prior_sigma": problem.prior, "posterior_mu_init": 0.0}
    options |= {"posterior_rho_init": -3.0, "type": "Flipout", "moped_enable": False}
    module.dnn_to_bnn(model, options)

    def loss(criterion: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # Flipout: every row has signs of its own, so a repeated one is another draw
        fit = criterion(model(x.repeat(DRAWS, 1)), torch.cat([y] * DRAWS))
        return fit + spelling.factor(problem.points) * module.get_kl_loss(model)

    return model, loss


def torchbnn(spelling: Spelling, problem: Problem) -> tuple[nn.Module, Loss]:
    """Its layers in a ``Sequential``, as in its examples."""
    bnn = load("torchbnn")
    layers = [
        bnn.BayesLinear(prior_mu=0, prior_sigma=problem.prior, in_features=i, out_features=o)
        for i, o in ((problem.sizes[0], HIDDEN), (HIDDEN, problem.sizes[1]))
    ]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1])
    divergence = bnn.BKLLoss(reduction=spelling.reduction, last_layer_only=False)

    def loss(criterion: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        fit = torch.func.vmap(lambda _: criterion(model(x), y), randomness="different")
        return (
            fit(torch.zeros(DRAWS)).mean() + spelling.factor(problem.points) * divergence(model)[0]
        )

    return model, loss


def torch_uncertainty(spelling: Spelling, problem: Problem) -> tuple[nn.Module, Loss]:
    """Its layers, whose default prior is one Gaussian."""
    layer = load("torch_uncertainty.layers.bayesian").BayesLinear
    prior = {"prior_sigma_1": problem.prior}
    model = nn.Sequential(
        layer(problem.sizes[0], HIDDEN, **prior),
        nn.Tanh(),
        layer(HIDDEN, problem.sizes[1], **prior),
    )
    elbo = load("torch_uncertainty.losses").ELBOLoss

    def loss(criterion: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return elbo(model, criterion, spelling.factor(problem.points), 3)(x, y).squeeze()

    return model, loss


def blitz(spelling: Spelling, problem: Problem) -> tuple[nn.Module, Loss]:
    """Its decorator around its layers, whose default prior is one Gaussian."""
    layer = load("blitz.modules").BayesianLinear

    @load("blitz.utils").variational_estimator
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            prior = {"prior_sigma_1": problem.prior}
            self.first = layer(problem.sizes[0], HIDDEN, **prior)
            self.second = layer(HIDDEN, problem.sizes[1], **prior)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)))

    model = Net()

    def loss(criterion: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        weight = spelling.factor(problem.points)
        return model.sample_elbo(x, y, criterion, 1, complexity_cost_weight=weight)

    return model, loss


MAKERS = {
    "bayesian-torch": bayesian_torch,
    "torchbnn": torchbnn,
    "torch-uncertainty": torch_uncertainty,
    "blitz": blitz,
}


def train(problem: Problem, spelling: Spelling, seed: int, steps: int = STEPS) -> nn.Module:
    """The library's module after ``steps`` of Adam."""
    x, y = problem.data()
    torch.manual_seed(seed)
    model, loss = MAKERS[spelling.library](spelling, problem)
    points = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(points, batch_size=BATCH, shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    epochs = steps // len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for inputs, targets in loader:
            optimiser.zero_grad()
            loss(problem.criterion, inputs, targets).backward()
            optimiser.step()
        schedule.step()
    return model


def planted(problem: Problem, spelling: Spelling, noise: float | None) -> float:
    """The mean over weights of what multiplies their KL beside E[log p] of all points."""
    weights = sum(problem.tensors)
    # a mean over n numbers weighs each by 1/n: averaged over all weights, tensors / weights
    share = {
        "summed": 1.0,
        "tensors": len(problem.tensors) / weights,
        "weights": 1.0 / weights,
        "layers": 0.5,
    }[spelling.spread]
    squared = 1.0 if noise is None else 1.0 / (2.0 * noise**2)
    return spelling.factor(problem.points) * share * problem.points * squared


def rows(problem: Problem, spelling: Spelling, seed: int, steps: int = STEPS) -> list[dict]:
    """Train, save, and read as a user does."""
    model = train(problem, spelling, seed, steps)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        torch.save(model.state_dict(), path)
        for noise in (None, NOISE) if problem.kind == "wave" else (None,):
            stored = spelling.library == "torch-uncertainty"
            report = analyze(
                path,
                model=model,
                data=problem.data(),
                batch_size=BATCH,
                samples=4,
                **({} if noise is None else {"noise": noise}),
                **({} if stored else {"prior_std": problem.prior}),
                **({} if problem.kind == "wave" else {"likelihood": "categorical"}),
            )
            row = {"data": problem.kind, "seed": seed, "steps": steps, "noise": noise}
            found.append(row | _row(problem, spelling, report))
    return found


def _row(problem: Problem, spelling: Spelling, report: Any) -> dict:
    weight = report.elbo.kl_weight
    first = weight.causes[0] if weight.causes else None
    kept = ("value", "lower", "upper", "status", "convention", "unsettled", "scatter", "reasons")
    return {
        "library": spelling.library,
        "spelling": spelling.words,
        "noise_used": weight.noise_std,
        "planted": planted(problem, spelling, weight.noise_std),
        **{name: getattr(weight, name) for name in kept},
        "tensors": [(part.name, part.value) for part in weight.layers],
        "causes": [(cause.name, cause.library, cause.text) for cause in weight.causes],
        "named": first is not None and first.name == spelling.cause,
        "codes": [finding.code for finding in report.findings],
    }


def table(found: list[dict]) -> str:
    """As in ``weight.md``."""
    lines = [
        "| library: loss | data | noise std | T planted | T read | status | cause named first | right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in found:
        noise = "–" if r["noise_used"] is None else f"{r['noise_used']:.2g}"
        if r["noise"] is None and r["noise_used"] is not None:
            noise += " (residuals)"
        read = (
            "–" if r["value"] is None else f"{r['value']:.3g} [{r['lower']:.3g}, {r['upper']:.3g}]"
        )
        cause = r["causes"][0][2] if r["causes"] else "–"
        right = "–" if r["status"] != "ok" else "yes" if r["named"] else "**no**"
        lines.append(
            f"| {r['library']}: {r['spelling']} | {r['data']} | {noise} | {r['planted']:.3g} | "
            f"{read} | {r['status']} | {cause} | {right} |"
        )
    return "\n".join(lines)


def main() -> None:
    """``run`` trains, reads and adds to the results what fits all words; ``table`` shows them."""
    torch.set_num_threads(1)
    command, *words = sys.argv[1:]
    if command == "run":
        for problem in PROBLEMS:
            for spelling in SPELLINGS:
                if all(word in f"{problem.kind} {spelling.name}" for word in words):
                    for row in rows(problem, spelling, 0):
                        with RESULTS.open("a") as out:
                            out.write(json.dumps(row) + "\n")
                        print(table([row]).splitlines()[-1], row["reasons"], flush=True)
    else:
        print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


if __name__ == "__main__":
    main()
