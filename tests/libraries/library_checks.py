"""What every library is put through: our numbers are its numbers, and what we write it loads and predicts with."""

import numpy as np
import torch

import symdiag.formats as formats

TIGHT = {"rtol": 2e-6, "atol": 1e-12}


def detached(pairs):
    """Name → (mean, std) as float64 arrays."""
    return {
        n: tuple(np.asarray(t.detach(), dtype=np.float64) for t in pair)
        for n, pair in pairs.items()
    }


def assert_same_gaussian(posterior, expected):
    """The posterior's means and stds are ``expected``: name → (mean, std)."""
    random = {name for name in posterior.names if np.any(posterior.scale[name] > 0)}
    assert random == set(expected)
    for name, (mean, std) in expected.items():
        np.testing.assert_allclose(posterior.loc[name], mean, **TIGHT, err_msg=name)
        np.testing.assert_allclose(posterior.scale[name], std, **TIGHT, err_msg=name)


def changed(posterior):
    """Other values: every mean moved and every std changed, elementwise differently."""
    rng = np.random.default_rng(7)
    loc = {n: v + 0.1 * rng.standard_normal(v.shape) for n, v in posterior.loc.items()}
    scale = {n: v * np.exp(0.3 * rng.standard_normal(v.shape)) for n, v in posterior.scale.items()}
    return posterior.replace(loc=loc, scale=scale)


def check_library(tmp_path, *, save, restore, gaussian, predict, load=formats.load):
    """Read what ``save(path)`` wrote, compare, write back as it is and with other values, load both in the library.

    Args:
        tmp_path: where files go.
        save: writes the library's checkpoint.
        restore: loads a checkpoint into a fresh object of the library and returns it.
        gaussian: object → name → (mean, std), by the library's own code.
        predict: object → outputs, random ones under the caller's seed.
        load: how symdiag is asked to read.
    """
    original = tmp_path / "original.pt"
    save(original)
    first = restore(original)
    posterior = load(original)
    assert_same_gaussian(posterior, detached(gaussian(first)))

    formats.save(posterior, tmp_path / "again.pt")
    second = restore(tmp_path / "again.pt")
    assert torch.equal(seeded(predict, second), seeded(predict, first))

    other = changed(posterior)
    formats.save(other, tmp_path / "changed.pt")
    third = restore(tmp_path / "changed.pt")
    found = detached(gaussian(third))
    for name, (mean, std) in found.items():
        np.testing.assert_allclose(mean, other.loc[name], rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(std, other.scale[name], rtol=1e-5, err_msg=name)
    assert not torch.equal(seeded(predict, third), seeded(predict, first))
    return posterior


def seeded(predict, thing):
    """A prediction with the random state fixed."""
    torch.manual_seed(3)
    with torch.no_grad():
        return predict(thing)


def module_checks(tmp_path, make, gaussian, predict, **options):
    """`check_library` for libraries whose checkpoint is ``model.state_dict()``; ``make`` builds the model afresh."""
    model = make()
    jitter(model)

    def restore(path):
        fresh = make()
        fresh.load_state_dict(torch.load(path, weights_only=True))
        return fresh

    return check_library(
        tmp_path,
        save=lambda path: torch.save(model.state_dict(), path),
        restore=restore,
        gaussian=gaussian,
        predict=predict,
        **options,
    )


def jitter(model):
    """Move every parameter a little, as training would, so that no two are alike."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
