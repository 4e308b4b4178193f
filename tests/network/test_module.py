import sys

import numpy as np
import pytest
import torch
from network_examples import mlp_shapes, posterior_of
from torch import nn

from symdiag.errors import UnsupportedError, UsageError
from symdiag.network.matching import match_names
from symdiag.network.module import load_factory, user_model
from symdiag.posterior import Posterior


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


def test_factory_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_nets_x.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Linear(3, 1)\nVALUE = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert isinstance(load_factory("my_nets_x:build")(), nn.Linear)
    for target in (
        "my_nets_x",
        ":build",
        "my_nets_x:missing",
        "my_nets_x:VALUE",
        "no_such_module_x:build",
    ):
        with pytest.raises(UsageError) as caught:
            load_factory(target)
        assert caught.value.code == "bad-model-option"


def test_a_factory_and_a_forward_may_import_from_their_folder_when_they_run(tmp_path, monkeypatch):
    (tmp_path / "late_layers_x.py").write_text(
        "from torch.nn import Linear\nfrom torch import tanh\n"
    )
    (tmp_path / "late_nets_x.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        from late_layers_x import Linear\n"
        "        self.fc1, self.fc2 = Linear(3, 5), Linear(5, 2)\n"
        "    def forward(self, x):\n"
        "        from late_layers_x import tanh\n"
        "        return self.fc2(tanh(self.fc1(x)))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    user = user_model("late_nets_x:Net", posterior_of(mlp_shapes(3, 5, 2)))
    assert user.forward({}, torch.zeros(4, 3).double()).shape == (4, 2)


@pytest.mark.parametrize("factory", [lambda: 3, lambda: 1 / 0, dict])
def test_factories_that_build_no_module(factory):
    with pytest.raises(UsageError) as caught:
        user_model(factory, posterior_of(mlp_shapes(3, 5, 2)))
    assert caught.value.code == "bad-model-option"


def test_forward_runs_the_module_with_the_given_weights_and_draws():
    generator = np.random.default_rng(0)
    user = user_model(Net, posterior_of(mlp_shapes(3, 5, 2)))
    weights = {
        k: torch.from_numpy(generator.standard_normal((4, *s)))
        for k, s in mlp_shapes(3, 5, 2).items()
    }
    inputs = torch.from_numpy(generator.standard_normal((6, 3)))
    outputs = user.forward(weights, inputs)
    assert outputs.shape == (4, 6, 2)
    one = {k: v[2] for k, v in weights.items()}
    expected = (
        torch.tanh(inputs @ one["fc1.weight"].T + one["fc1.bias"]) @ one["fc2.weight"].T
        + one["fc2.bias"]
    )
    torch.testing.assert_close(outputs[2], expected)
    torch.testing.assert_close(user.forward(one, inputs), expected)


def test_modules_that_vmap_cannot_follow_are_run_draw_by_draw():
    class Branching(Net):
        def forward(self, x):
            hidden = self.fc1(x)
            return self.fc2(hidden if hidden.sum().item() > 0 else -hidden)

    generator = np.random.default_rng(1)
    user = user_model(Branching, posterior_of(mlp_shapes(3, 5, 2)))
    weights = {
        k: torch.from_numpy(generator.standard_normal((3, *s)))
        for k, s in mlp_shapes(3, 5, 2).items()
    }
    inputs = torch.ones(2, 3, dtype=torch.float64)
    outputs = user.forward(weights, inputs)
    for s in range(3):
        torch.testing.assert_close(
            outputs[s], user.forward({k: v[s] for k, v in weights.items()}, inputs)
        )


@pytest.mark.parametrize(("ours", "theirs"), [("", "net."), ("model.", "")])
def test_prefixes_on_either_side_are_matched(ours, theirs):
    module = Net()
    if ours:
        module = nn.ModuleDict({"model": module})
    shapes = {theirs + name: shape for name, shape in mlp_shapes(3, 5, 2).items()}
    names = match_names(module, posterior_of(shapes))
    assert names == {f"{ours}{name}": f"{theirs}{name}" for name in mlp_shapes(3, 5, 2)}


@pytest.mark.parametrize(
    "shapes",
    [
        mlp_shapes(3, 6, 2),
        {**mlp_shapes(3, 5, 2), "fc3.weight": (2, 2)},
        {k: v for k, v in mlp_shapes(3, 5, 2).items() if k != "fc2.bias"},
    ],
)
def test_modules_that_do_not_fit_the_file_are_refused(shapes):
    with pytest.raises(UnsupportedError) as caught:
        match_names(Net(), posterior_of(shapes))
    assert caught.value.code == "model-mismatch"
    assert "fc" in caught.value.message


def test_tied_tensors_may_be_stored_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.dec = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.dec.weight = self.emb.weight

        def forward(self, x):
            return self.dec(self.emb(x))

    names = match_names(Tied(), posterior_of({"emb.weight": (7, 4)}))
    assert names == {"emb.weight": "emb.weight"}
    user = user_model(Tied, posterior_of({"emb.weight": (7, 4)}))
    weight = torch.randn(7, 4, dtype=torch.float64)
    tokens = torch.tensor([[1, 2]])
    torch.testing.assert_close(
        user.forward({"emb.weight": weight}, tokens), weight[tokens] @ weight.T
    )
    twice = user_model(Tied, posterior_of({"emb.weight": (7, 4), "dec.weight": (7, 4)}))
    held = {"emb.weight": weight, "dec.weight": weight}
    torch.testing.assert_close(twice.forward(held, tokens), weight[tokens] @ weight.T)
    assert twice.repeated == (("dec.weight", "emb.weight"),)
    assert user.repeated == ()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 2)), (2, 3)),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 2)),
            (2, 1, 28, 28),
        ),
        (lambda: nn.Sequential(nn.Embedding(7, 4)), (2, 5)),
    ],
)
def test_input_shapes_are_found_by_trial(build, shape):
    held = {k: v.shape for k, v in build().named_parameters()}
    assert tuple(user_model(build, posterior_of(held)).example_inputs[0].shape) == shape


def test_example_inputs_of_the_factory_are_used_and_asked_for_when_needed():
    class Two(Net):
        def forward(self, x, y):
            return super().forward(x * y)

    held = Posterior(
        {k: np.zeros(s) for k, s in mlp_shapes(3, 5, 2).items()},
        {k: np.ones(s) for k, s in mlp_shapes(3, 5, 2).items()},
    )
    with pytest.raises(UnsupportedError) as caught:
        user_model(Two, held)
    assert caught.value.code == "example-input-needed"
    example = (torch.ones(4, 3), torch.ones(4, 3))
    user = user_model(lambda: (Two(), example), held)
    assert [a.dtype for a in user.example_inputs] == [torch.float64] * 2


class TwoHeads(nn.Module):
    """Mean and log-variance from separate heads, as a tuple or a dict."""

    def __init__(self, as_dict=False):
        super().__init__()
        self.fc1, self.mean, self.spread, self.as_dict = (
            nn.Linear(3, 5),
            nn.Linear(5, 2),
            nn.Linear(5, 1),
            as_dict,
        )

    def forward(self, x):
        hidden = torch.tanh(self.fc1(x))
        mean, spread = self.mean(hidden), self.spread(hidden)
        return {"mean": mean, "spread": spread} if self.as_dict else (mean, [spread])


@pytest.mark.parametrize("as_dict", [False, True])
def test_of_several_outputs_the_first_counts_and_all_are_checked(as_dict):
    module = TwoHeads(as_dict)
    user = user_model(
        lambda: module, posterior_of({name: p.shape for name, p in module.named_parameters()})
    )
    weights = {name: p.detach().double() for name, p in module.named_parameters()}
    inputs = torch.randn(6, 3, dtype=torch.float64)
    assert user.forward(weights, inputs).shape == (6, 2)
    before = user.all_outputs(weights, (inputs,))
    assert before.shape == (18,)
    changed = {**weights, "spread.bias": weights["spread.bias"] + 1.0}
    assert torch.equal(user.forward(changed, inputs), user.forward(weights, inputs))
    assert not torch.equal(user.all_outputs(changed, (inputs,)), before)


def test_a_module_that_returns_no_tensor_is_refused():
    class Silent(Net):
        def forward(self, x):
            return {"logits": None}

    user = user_model(Silent, posterior_of(mlp_shapes(3, 5, 2)))
    with pytest.raises(UnsupportedError) as caught:
        user.forward({}, torch.zeros(1, 3).double())
    assert caught.value.code == "model-mismatch"
