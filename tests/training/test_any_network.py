"""From a hand-written module to its retrained weights, back in the module, by the command line."""

import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import odd_networks
import pytest
import torch
from torch.nn import functional as F

from symdiag.cli.main import main

RNG = np.random.default_rng(0)
POINTS = 12
INPUTS = {
    "residual": RNG.standard_normal((POINTS, 3)),
    "recurrent": RNG.standard_normal((POINTS, 4, 2)),
    "gated": RNG.standard_normal((POINTS, 4, 2)),
    "tokens": RNG.integers(0, 9, (POINTS, 4)),
    "attention": RNG.standard_normal((POINTS, 4, 3)),
    "images": RNG.standard_normal((POINTS, 1, 4, 4)),
    "last_layer": RNG.standard_normal((POINTS, 3)),
}
LABELLED = ("tokens", "images")
NOISE = 0.5
OPTIONS = (
    "--scale-transform softplus --prior-std 1 --steps 4 --draws 4 --interval 4 "
    "--samples 40 --budget 0.05 --no-control --anyway --keep-worse -o out.pt"
)


def retrained(name, folder):
    module = getattr(odd_networks, name)()
    torch.save(module.state_dict(), folder / "model.pt")
    targets = RNG.integers(0, 3, POINTS) if name in LABELLED else RNG.standard_normal(POINTS)
    np.savez(folder / "data.npz", X=INPUTS[name], y=targets)
    command = ["retrain", "model.pt", "--data", "data.npz", "--model", f"odd_networks:{name}"]
    command += OPTIONS.split()
    command += ["--likelihood", "categorical"] if name in LABELLED else ["--noise", str(NOISE)]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*command, "--format", "json"])
    assert code in (0, 1), err.getvalue()
    return module, torch.tensor(targets), json.loads(out.getvalue())


def kl_to_prior(module):
    """Closed form over every pair of means and stored scales, prior N(0, 1)."""
    total, state = 0.0, dict(module.named_parameters())
    for name, mean in state.items():
        if name.endswith("_mu"):
            std = F.softplus(state[name.replace("_mu", "_rho")].double())
            total += (0.5 * (std**2 + mean.double() ** 2 - 1.0) - torch.log(std)).sum().item()
    return total


@pytest.mark.parametrize("name", INPUTS)
def test_the_module_with_the_new_weights_is_what_the_report_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, targets, report = retrained(name, tmp_path)
    figures = report["retrained"]
    assert report["before"]["kl"] == pytest.approx(kl_to_prior(module), rel=1e-5)
    buffers = {n: b.clone() for n, b in module.named_buffers()}
    plain = {n: p.clone() for n, p in module.named_parameters() if not n.endswith(("_mu", "_rho"))}
    module.load_state_dict(torch.load(tmp_path / "out.pt"), strict=True)
    assert figures["kl"] == pytest.approx(kl_to_prior(module), rel=1e-5)
    assert figures["kl"] != pytest.approx(report["before"]["kl"], rel=1e-5)
    # what is no random weight stays: buffers are frozen, and the report names those that move
    assert all(torch.equal(value, buffers[n]) for n, value in module.named_buffers())
    assert all(torch.equal(module.get_parameter(n), value) for n, value in plain.items())
    named = {f"norm.running_{part}" for part in ("mean", "var")} if name == "images" else set()
    assert set(report["settings"]["statistics"]) == named

    module.eval()
    torch.manual_seed(1)
    inputs = torch.tensor(INPUTS[name])
    inputs = inputs if name == "tokens" else inputs.float()
    with torch.no_grad():
        outputs = torch.stack([module(inputs) for _ in range(400)])
    if name in LABELLED:
        fits = -F.cross_entropy(outputs.movedim(2, 1), targets.expand(400, -1), reduction="none")
    else:
        normal = torch.distributions.Normal(outputs.reshape(400, POINTS).double(), NOISE)
        fits = normal.log_prob(targets)
    sums = fits.sum(1).double()
    error = math.hypot(sums.std().item() / 20.0, figures["log_likelihood"]["std_error"])
    assert abs(sums.mean().item() - figures["log_likelihood"]["value"]) < 5.0 * error


def test_a_module_that_returns_no_row_per_point_is_refused(tmp_path, monkeypatch):
    import symdiag
    from symdiag.errors import InputError

    monkeypatch.chdir(tmp_path)

    class OneRow(odd_networks.Attention):
        def forward(self, x):
            return super().forward(x).mean(0, keepdim=True)

    torch.save(OneRow().state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="not one row for each point") as caught:
        symdiag.retrain(
            tmp_path / "model.pt",
            (INPUTS["attention"], RNG.standard_normal(POINTS)),
            model=lambda: (OneRow(), torch.randn(2, 4, 3)),
            scale_transform="softplus",
            prior_std=1.0,
        )
    assert caught.value.code == "bad-data"


def test_inputs_that_are_no_indices_are_refused(tmp_path):
    import symdiag
    from symdiag.errors import InputError

    torch.save(odd_networks.tokens().state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="no whole numbers") as caught:
        symdiag.retrain(
            tmp_path / "model.pt",
            (RNG.random((POINTS, 4)), RNG.integers(0, 3, POINTS)),
            model=lambda: (odd_networks.tokens(), torch.zeros(2, 4, dtype=torch.long)),
            scale_transform="softplus",
            prior_std=1.0,
            likelihood="categorical",
        )
    assert caught.value.code == "bad-data"
