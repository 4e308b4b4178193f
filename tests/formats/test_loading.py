import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from symdiag.errors import InputError, OutputError, UsageError
from symdiag.formats import interpret, load, save
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.posterior import Posterior

RHO = {
    "fc1.weight_mu": np.ones((4, 3), np.float32),
    "fc1.weight_rho": np.full((4, 3), -2.0, np.float32),
}
FLAT = {"loc": np.arange(6, dtype=np.float32), "scale_unconstrained": np.zeros(6, np.float32)}


@pytest.fixture
def checkpoint(tmp_path):
    save_file(RHO, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def beside(path, content):
    path.with_name(path.name + ".symdiag.json").write_text(content, encoding="utf-8")


def test_a_sidecar_declares_the_transform_and_the_activation(checkpoint):
    beside(checkpoint, json.dumps({"scale_transform": "exp", "activation": "tanh"}))
    posterior = load(checkpoint)
    np.testing.assert_allclose(posterior.scale["fc1.weight"], np.exp(-2.0))
    assert posterior.source.metadata["symdiag.activation"] == "tanh"


def test_metadata_in_the_file_declares_them_too(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(RHO, path, metadata={"symdiag.scale_transform": "exp", "symdiag.activation": "relu"})
    posterior = load(path)
    np.testing.assert_allclose(posterior.scale["fc1.weight"], np.exp(-2.0))
    assert posterior.source.metadata["symdiag.activation"] == "relu"


def test_the_call_outranks_the_sidecar_and_the_sidecar_the_file(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(RHO, path, metadata={"symdiag.scale_transform": "exp"})
    beside(path, json.dumps({"scale_transform": "exp-half"}))
    np.testing.assert_allclose(load(path).scale["fc1.weight"], np.exp(-1.0))
    np.testing.assert_allclose(
        load(path, scale_transform="softplus").scale["fc1.weight"], np.log1p(np.exp(-2.0))
    )


@pytest.mark.parametrize(
    "content",
    [
        "{not json",
        "[1, 2]",
        '"exp"',
        "[" * 100_000,
        '{"model_shapes": [3]}',
        '{"model_shapes": {"a": 3}}',
        '{"model_shapes": {"a": [-1]}}',
        '{"model_shapes": {"a": [2.5]}}',
        '{"model_shapes": {"a": [1e400]}}',
        '{"model_shapes": {"a": [9999999999, 9999999999]}}',
    ],
)
def test_a_bad_sidecar(checkpoint, content):
    beside(checkpoint, content)
    with pytest.raises(InputError) as error:
        load(checkpoint, scale_transform="exp")
    assert error.value.code == "bad-sidecar"


def test_bad_shapes_in_the_file_s_own_metadata(tmp_path):
    """Anybody may have written them: they are refused like those of a sidecar."""
    path = tmp_path / "net.safetensors"
    for text in ("[" * 100_000, '{"a": [1e400]}', '{"a": [' + "9" * 5000 + "]}"):
        save_file(RHO, path, metadata={"symdiag.model_shapes": text})
        with pytest.raises(InputError) as error:
            load(path, scale_transform="exp")
        assert error.value.code == "bad-sidecar"


def test_an_unknown_transform_in_the_sidecar(checkpoint):
    beside(checkpoint, json.dumps({"scale_transform": "relu"}))
    with pytest.raises(UsageError) as error:
        load(checkpoint)
    assert error.value.code == "unknown-scale-transform"


def test_shapes_of_a_flat_file_from_the_sidecar_the_call_or_a_companion(tmp_path):
    path = tmp_path / "guide.safetensors"
    save_file(FLAT, path)
    with pytest.raises(InputError) as error:
        load(path)
    assert error.value.code == "needs-model-shapes"
    shapes = {"fc1.weight": (2, 2), "fc1.bias": (2,)}
    by_call = load(path, model_shapes=shapes)
    assert by_call.loc["fc1.weight"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert by_call.loc["fc1.bias"].tolist() == [4.0, 5.0]
    np.testing.assert_allclose(by_call.scale["fc1.bias"], np.log(2.0))
    model = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "model.npz", **model)
    assert load(path, companion=tmp_path / "model.npz").shapes == shapes
    save_file(model, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as error:  # safetensors sorts by name: the model's order is lost
        load(path, companion=tmp_path / "model.safetensors")
    assert error.value.code == "order-unknown"
    beside(path, json.dumps({"model_shapes": {"fc1.weight": [2, 2], "fc1.bias": [2]}}))
    assert load(path).shapes == shapes


def test_shapes_that_do_not_add_up(tmp_path):
    save_file(FLAT, tmp_path / "guide.safetensors")
    with pytest.raises(InputError) as error:
        load(tmp_path / "guide.safetensors", model_shapes={"fc1.weight": (2, 2)})
    assert error.value.code == "shape-mismatch"


def test_saving_keeps_the_container_and_its_metadata(checkpoint, tmp_path):
    posterior = load(checkpoint, scale_transform="softplus")
    save(posterior, tmp_path / "again.safetensors")
    again = load(tmp_path / "again.safetensors", scale_transform="softplus")
    assert again.source.container == posterior.source.container == "safetensors"
    assert again.source.dialect == "handwritten"
    np.testing.assert_array_equal(again.scale["fc1.weight"], posterior.scale["fc1.weight"])


def test_an_existing_file_is_not_replaced_unasked(checkpoint):
    posterior = load(checkpoint, scale_transform="softplus")
    before = checkpoint.read_bytes()
    with pytest.raises(OutputError):
        save(posterior, checkpoint)
    assert checkpoint.read_bytes() == before
    save(posterior, checkpoint, overwrite=True)


def test_a_posterior_from_nowhere_cannot_be_saved(tmp_path):
    posterior = Posterior({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(UsageError) as error:
        save(posterior, tmp_path / "x.pt")
    assert error.value.code == "no-source"
    assert not (tmp_path / "x.pt").exists()


def test_numpyro_s_order_is_not_taken_from_a_companion():
    tree = {"auto_loc": np.ones(8), "auto_scale": np.ones(8)}
    raw = RawCheckpoint("p.npz", "0", "npz", tree)
    model = RawCheckpoint("m.pt", "0", "torch-zip", {"w": np.ones((3, 2)), "b": np.ones(2)})
    with pytest.raises(InputError) as error:
        interpret(raw, ReadOptions(companion=model))
    assert error.value.code == "order-unknown"
    found = interpret(raw, ReadOptions(model_shapes={"b": (2,), "w": (3, 2)}))
    assert found.shapes == {"bias": (2,), "weight": (3, 2)}
