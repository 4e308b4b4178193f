import numpy as np
import pytest
import torch
from network_examples import DATA, ZOO, mlp_shapes, posterior_of, random_posterior
from torch import nn

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network import ACTIVATIONS, ODD_ACTIVATIONS, forward, forward_mlp, infer_network
from symdiag.network.functional import ACTIVATION_FUNCTIONS


def tensors(arrays):
    return {
        name: torch.from_numpy(np.array(value, dtype=np.float64)) for name, value in arrays.items()
    }


@pytest.mark.parametrize("name", ["bayesian-torch-mlp1", "handmade-W_p-mlp2", "torch-blue-mlp2"])
def test_mean_network_predicts_what_the_library_predicted(name):
    with np.load(DATA / "zoo_means.npz") as archive:
        means = {
            key.split("/")[1]: archive[key]
            for key in archive.files
            if key.startswith(f"{name}/") and "//" not in key
        }
        inputs, expected = archive[f"{name}//inputs"], archive[f"{name}//outputs"]
    network = infer_network(posterior_of(ZOO[name]["shapes"]), activation=ZOO[name]["activation"])
    outputs = forward_mlp(network, tensors(means), torch.from_numpy(inputs.astype(np.float64)))
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("in_out", [False, True])
@pytest.mark.parametrize("own_inputs", [False, True])
def test_draw_axis_is_the_same_as_one_draw_at_a_time(in_out, own_inputs):
    generator = np.random.default_rng(1)
    shapes = mlp_shapes(3, 7, 5, 2)
    if in_out:
        shapes = {k: v[::-1] if len(v) == 2 else (1, *v) for k, v in shapes.items()}
    network = infer_network(posterior_of(shapes), activation="tanh")
    draws = tensors(random_posterior(shapes, generator).sample(generator, 4))
    inputs = torch.from_numpy(generator.standard_normal((4, 6, 3) if own_inputs else (6, 3)))
    outputs = forward(network, draws, None, inputs)
    assert outputs.shape == (4, 6, 2)
    for s in range(4):
        one = forward(
            network, {k: v[s] for k, v in draws.items()}, None, inputs[s] if own_inputs else inputs
        )
        torch.testing.assert_close(outputs[s], one, rtol=1e-12, atol=1e-12)


def test_gradients_are_exact():
    generator = np.random.default_rng(2)
    shapes = mlp_shapes(2, 3, 1)
    network = infer_network(posterior_of(shapes), activation="tanh")
    names = list(shapes)
    draws = tensors(random_posterior(shapes, generator).sample(generator, 2))
    inputs = torch.from_numpy(generator.standard_normal((4, 2)))
    leaves = tuple(draws[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(
        lambda *w: forward(network, dict(zip(names, w, strict=True)), None, inputs), leaves
    )


def test_norms_equal_torch_modules_in_evaluation_mode():
    torch.manual_seed(0)
    for kind in (nn.BatchNorm1d(5), nn.LayerNorm(5)):
        norm = kind.double()
        layer_name = "bn" if isinstance(norm, nn.BatchNorm1d) else "ln"
        module = nn.Sequential(
            nn.Linear(3, 5).double(), norm, nn.GELU(), nn.Linear(5, 2).double()
        ).eval()
        with torch.no_grad():
            for tensor in (
                *module.parameters(),
                *(b for b in module.buffers() if b.is_floating_point()),
            ):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
        names = {"0": "fc1", "1": layer_name, "3": "fc2"}
        renamed = {
            f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v
            for k, v in module.state_dict().items()
            if v.ndim
        }
        buffers = {k: v for k, v in renamed.items() if "running" in k}
        weights = {k: v for k, v in renamed.items() if k not in buffers}
        network = infer_network(
            posterior_of(
                {k: v.shape for k, v in weights.items()},
                buffers={k: v.shape for k, v in buffers.items()},
            ),
            activation="gelu",
        )
        inputs = torch.randn(7, 3, dtype=torch.float64)
        torch.testing.assert_close(
            forward(network, weights, buffers, inputs), module(inputs), rtol=1e-12, atol=1e-12
        )
        stacked = {k: torch.stack([v, 2 * v]) for k, v in weights.items()}
        second = forward(network, {k: v[1] for k, v in stacked.items()}, buffers, inputs)
        torch.testing.assert_close(
            forward(network, stacked, buffers, inputs)[1], second, rtol=1e-12, atol=1e-12
        )


def test_exactly_the_odd_activations_are_odd():
    points = torch.linspace(-3.0, 3.0, 61, dtype=torch.float64)
    assert ACTIVATION_FUNCTIONS.keys() == ACTIVATIONS
    for name, function in ACTIVATION_FUNCTIONS.items():
        is_odd = torch.allclose(function(-points), -function(points), atol=1e-12)
        assert is_odd is (name in ODD_ACTIVATIONS), name


def test_unknown_activation_is_not_guessed_but_a_linear_model_needs_none():
    inputs = torch.ones(2, 3)
    hidden = infer_network(posterior_of(mlp_shapes(3, 4, 1)))
    with pytest.raises(UsageError) as caught:
        forward(hidden, {}, None, inputs)
    assert caught.value.code == "activation-unknown"
    linear = infer_network(posterior_of(mlp_shapes(3, 1)))
    weights = {"fc1.weight": torch.ones(1, 3), "fc1.bias": torch.ones(1)}
    assert forward(linear, weights, None, inputs).tolist() == [[4.0], [4.0]]


def test_what_a_file_does_not_determine_is_refused():
    generator = np.random.default_rng(3)
    for shapes, rank in (
        ({"c.weight": (4, 3, 3, 3), "fc.weight": (1, 4)}, 4),
        ({"a.weight": (4, 3), "gn.weight": (4,), "gn.bias": (4,), "b.weight": (1, 4)}, 2),
    ):
        network = infer_network(posterior_of(shapes), activation="relu")
        weights = tensors(random_posterior(shapes, generator).loc)
        with pytest.raises(UnsupportedError) as caught:
            forward(
                network, weights, None, torch.ones(2, 3, *(4,) * (rank - 2), dtype=torch.float64)
            )
        assert caught.value.code == "forward-undetermined"


def test_importing_the_package_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys, symdiag.network, symdiag.symmetry.specfile; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError):
        __import__("symdiag.network").network.nothing  # noqa: B018
