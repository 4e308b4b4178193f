"""Checkpoints of the real libraries: means, stds, prior and outputs at the means, as the libraries
gave them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from symdiag.errors import InputError
from symdiag.formats import load
from symdiag.priors import GaussianPrior

ZOO = Path(__file__).parents[1] / "data" / "zoo"
EXPECTED = json.loads((ZOO / "expectations.json").read_text(encoding="utf-8"))
READABLE = {
    "posteriors-vidiag-mlp1": ["posteriors-vidiag-mlp1-dict.pt"],
    "pyro-autonormal-mlp1": ["pyro-autonormal-mlp1.save", "pyro-autonormal-mlp1-guide.pt"],
    "laplace-diag-mlp1": ["laplace-diag-mlp1.bin"],
}
OPTIONS = {
    "handmade-mu-rho-mlp2": {"scale_transform": "softplus"},
    "laplace-diag-mlp1": {"companion": ZOO / "laplace-diag-mlp1-model.bin"},
}
CASES = [(name, file) for name in EXPECTED for file in READABLE.get(name, EXPECTED[name]["files"])]


@pytest.fixture(params=CASES, ids=[file for _, file in CASES])
def case(request):
    name, file = request.param
    return EXPECTED[name], load(ZOO / file, **OPTIONS.get(name, {}))


def tensors(expected, posterior):
    """(our name, what is known of it) for every tensor; our names lack what wrappers put before all
    of them.
    """
    for layer in expected["layers"]:
        for part in ("weight", "bias"):
            name = f"{layer['name']}.{part}"
            while name not in posterior.loc:
                name = name.partition(".")[2]
            yield name, layer[part]


def test_means_and_stds_sum_to_the_library_s_own(case):
    expected, posterior = case
    assert [name for name, _ in tensors(expected, posterior)] == list(posterior.names)
    for name, known in tensors(expected, posterior):
        loc, scale = posterior.loc[name], posterior.scale[name]
        assert sorted(loc.shape) == sorted(known["canonical_shape"])
        np.testing.assert_allclose(loc.sum(), known["mean_sum"], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            np.abs(loc).sum(), known["mean_abs_sum"], rtol=1e-6, err_msg=name
        )
        np.testing.assert_allclose(scale.sum(), known["std_sum"], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(scale.min(), known["std_min"], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(scale.max(), known["std_max"], rtol=1e-6, err_msg=name)


def test_kl_to_the_prior_is_the_known_one(case):
    expected, posterior = case
    if expected["kl"] is None:
        pytest.skip("the prior is no Gaussian")
    mean, std = expected["prior"]["mean"], expected["prior"]["std"]
    prior = GaussianPrior(
        {name: np.asarray(mean) for name in posterior.names},
        {name: np.asarray(std) for name in posterior.names},
    )
    np.testing.assert_allclose(posterior.kl_to(prior), expected["kl"], rtol=1e-5)


def test_a_prior_in_the_file_is_read(case):
    expected, posterior = case
    assert (posterior.prior is not None) == expected["prior"]["stored"]
    if posterior.prior is not None:
        assert posterior.prior.loc.keys() == posterior.loc.keys()
        for name in posterior.names:
            np.testing.assert_allclose(
                posterior.prior.scale[name], expected["prior"]["std"], rtol=1e-6
            )
            np.testing.assert_allclose(
                posterior.prior.loc[name], expected["prior"]["mean"], atol=1e-12
            )


def forward(expected, posterior):
    """Outputs at the means by the formulas of the network's description."""
    phi = {"relu": torch.relu, "tanh": torch.tanh}[expected["activation"]]
    x = torch.tensor(expected["inputs"], dtype=torch.float64)
    loc = [torch.from_numpy(posterior.loc[name].copy()) for name, _ in tensors(expected, posterior)]
    pairs = list(zip(loc[::2], loc[1::2], strict=True))
    transposed = expected["layers"][0]["layout"] == "in,out"
    lin = lambda h, w, b: h @ (w if transposed else w.T) + b  # noqa: E731
    if expected["type"] == "cnn":
        for weight, bias in pairs[:2]:
            x = torch.max_pool2d(phi(torch.conv2d(x, weight, bias, padding=1)), 2)
        return lin(x.flatten(1), *pairs[2])
    if expected["type"] == "residual-mlp":
        h = phi(lin(x, *pairs[0]))
        h = h + lin(phi(lin(h, *pairs[1])), *pairs[2])
        return lin(h, *pairs[3])
    for weight, bias in pairs[:-1]:
        x = phi(lin(x, weight, bias))
    return lin(x, *pairs[-1])


def test_the_network_at_the_means_predicts_what_the_library_predicts(case):
    expected, posterior = case
    outputs = forward(expected, posterior)
    if expected["files"] == ["handmade-mu-rho-mlp2.pt"]:  # its network ends in a log-softmax
        outputs = torch.log_softmax(outputs, dim=1)
    outputs = outputs.numpy()
    np.testing.assert_allclose(
        outputs, np.array(expected["outputs"]).reshape(outputs.shape), rtol=1e-4, atol=2e-5
    )


def test_noise_and_duplicates_do_not_count():
    posterior = load(ZOO / "blitz-mlp1.pt")
    assert posterior.num_parameters == 10 * 16 + 16 + 16 + 1
    ignored = {item.key: item.reason for item in posterior.source.ignored}
    assert len(ignored) == 12
    assert "noise" in ignored["blinear1.weight_sampler.eps_w"]


def test_optimizer_moments_are_listed_not_read():
    posterior = load(ZOO / "handmade-W_p-mlp2.pt")
    assert posterior.num_parameters == 120 + 12 + 144 + 12 + 12 + 1
    assert posterior.loc["bfc1.weight"].shape == (10, 12)
    assert any(
        item.key.startswith("optimizer") and "training state" in item.reason
        for item in posterior.source.ignored
    )


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("nasty-plain-mlp.pt", "no-scales-found"),
        ("nasty-nan-means.pt", "non-finite"),
        ("laplace-diag-mlp1.bin", "needs-model-shapes"),
    ],
)
def test_what_must_be_refused_is(file, code):
    with pytest.raises(InputError) as error:
        load(ZOO / file)
    assert error.value.code == code
    assert error.value.hint


@pytest.mark.parametrize(
    ("whole", "state"),
    [
        ("posteriors-vidiag-mlp1.pt", "posteriors-vidiag-mlp1-dict.pt"),
        ("pyro-autonormal-mlp1-object.pt", "pyro-autonormal-mlp1-guide.pt"),
    ],
)
def test_pickled_objects_hold_what_their_state_does(whole, state):
    one, other = load(ZOO / whole), load(ZOO / state)
    assert one.names == other.names
    for name in one.names:
        np.testing.assert_array_equal(one.loc[name], other.loc[name])
        np.testing.assert_array_equal(one.scale[name], other.scale[name])


def test_whole_module_is_read_as_its_library():
    posterior = load(ZOO / "nasty-whole-module.pt")
    assert posterior.source.dialect == "bayesian-torch"
    assert posterior.num_parameters == 193


def test_stds_stored_directly_are_read():
    posterior = load(ZOO / "nasty-direct-std-ok.pt")
    assert posterior.source.scale_transform == "identity"
    np.testing.assert_allclose(posterior.scale["fc2.bias"], 0.05, rtol=1e-6)
