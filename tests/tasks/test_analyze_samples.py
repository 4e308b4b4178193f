"""``analyze_samples`` on planted switching, one mode, two modes, an ensemble and an HMC run."""

from __future__ import annotations

import math

import numpy as np
import pytest

import symdiag
from symdiag.errors import InputError, OutputError, UsageError
from symdiag.formats import WeightSamples, load_samples
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.tasks._inputs import check_output
from symdiag.tasks.samples import analyze_samples

SHAPES = {"fc1.weight": (5, 3), "fc1.bias": (5,), "fc2.weight": (2, 5), "fc2.bias": (2,)}
SPEC = PermutationSpec(
    (
        Group(
            "fc1",
            5,
            (Member("fc1.weight", 0), Member("fc1.bias", 0), Member("fc2.weight", 1)),
            signed=True,
        ),
    )
)


def draws_of(generator, count=80, std=0.1, shapes=SHAPES):
    return {
        n: generator.standard_normal(s) + std * generator.standard_normal((count, *s))
        for n, s in shapes.items()
    }


def shuffled(draws, generator, fraction):
    count = len(next(iter(draws.values())))
    moved = {name: values.copy() for name, values in draws.items()}
    for s in range(round(fraction * count)):
        for name, values in act(
            SPEC, random_action(SPEC, generator), {n: v[s] for n, v in draws.items()}
        ).items():
            moved[name][s] = values
    return moved


def given(draws, chains=None):
    return WeightSamples(draws, ("here",), ("",), chains=chains)


def forward(weights, inputs):
    hidden = np.tanh(inputs @ weights["fc1.weight"].T + weights["fc1.bias"])
    return hidden @ weights["fc2.weight"].T + weights["fc2.bias"]


def test_planted_switching_is_reported_in_full():
    generator = np.random.default_rng(0)
    draws = draws_of(generator)
    moved = shuffled(draws, generator, 0.5)
    done = analyze_samples(given(moved), activation="tanh", samples=64)
    report = done.report
    assert report.verdict == "label switching"
    assert report.off == pytest.approx(0.5)
    assert report.labellings == 41
    true, seen = (sum(v.var(axis=0, ddof=1).sum() for v in d.values()) for d in (draws, moved))
    assert report.variance_before == pytest.approx(seen)
    assert report.variance_after == pytest.approx(true)
    assert report.relabelling_share == pytest.approx(1 - true / seen)
    for tensor in report.tensors:
        assert tensor.variance_after == pytest.approx(draws[tensor.name].var(axis=0, ddof=1).sum())
        assert tensor.mean_square_before == pytest.approx(
            (moved[tensor.name].mean(axis=0) ** 2).sum()
        )
        assert tensor.mean_square_after == pytest.approx(
            (draws[tensor.name].mean(axis=0) ** 2).sum()
        )
        np.testing.assert_allclose(done.after.loc[tensor.name], draws[tensor.name].mean(axis=0))
        np.testing.assert_allclose(
            done.after.scale[tensor.name], draws[tensor.name].std(axis=0, ddof=1)
        )
        np.testing.assert_allclose(
            done.before.scale[tensor.name], moved[tensor.name].std(axis=0, ddof=1)
        )
    assert report.straddling_before.lower > 1.0
    assert report.straddling_after.upper < 0.01
    (group,) = report.groups
    assert group.log_order == pytest.approx(math.log(math.factorial(5) * 2**5))
    assert report.straddling_before.upper <= group.log_order + 1e-9
    assert (report.input.parameters, report.input.covered_parameters) == (32, 30)


def test_identical_draws_are_a_warning():
    one = {name: values[:1] for name, values in draws_of(np.random.default_rng(1)).items()}
    copies = {name: np.repeat(values, 12, axis=0) for name, values in one.items()}
    report = analyze_samples(given(copies), activation="tanh", samples=4).report
    assert any("all 12 draws are the same network" in note for note in report.notes)
    two = {
        name: np.concatenate([v[:11], draws[:1]])
        for (name, v), draws in zip(
            copies.items(), draws_of(np.random.default_rng(2)).values(), strict=True
        )
    }
    report = analyze_samples(given(two), activation="tanh", samples=4).report
    assert any("only 2 of the 12 draws differ" in note for note in report.notes)


def test_one_mode_is_one_labelling():
    report = analyze_samples(
        given(draws_of(np.random.default_rng(1))), activation="tanh", samples=16
    ).report
    assert (report.verdict, report.off, report.labellings) == ("one labelling", 0.0, 1)
    assert report.relabelling_share == 0.0
    assert report.rhat_before is None
    assert report.notes == ()


def test_the_limit_decides_the_verdict():
    generator = np.random.default_rng(2)
    moved = given(shuffled(draws_of(generator, count=40), generator, 0.1))
    verdicts = [
        analyze_samples(
            moved, activation="tanh", samples=4, starts=1, max_switching=limit
        ).report.verdict
        for limit in (0.05, 0.2)
    ]
    assert verdicts == ["label switching", "one labelling"]


def test_two_functions_are_noted_and_not_merged():
    generator = np.random.default_rng(3)
    first, second = draws_of(generator, 30), draws_of(generator, 30)
    both = {name: np.concatenate([values, second[name]]) for name, values in first.items()}
    report = analyze_samples(
        given(shuffled(both, generator, 0.6)), activation="tanh", samples=8
    ).report
    assert report.two_modes > 0.95
    assert any("more than one function" in note for note in report.notes)


def test_chains_that_differ_by_labels_alone_mix_once_aligned():
    generator = np.random.default_rng(4)
    draws = draws_of(generator, 200)
    moved = {name: values.copy() for name, values in draws.items()}
    for chain in range(4):
        part = slice(50 * chain, 50 * chain + 50)
        action = random_action(SPEC, generator)
        for s in range(part.start, part.stop):
            for name, values in act(SPEC, action, {n: v[s] for n, v in draws.items()}).items():
                moved[name][s] = values
    report = analyze_samples(given(moved, chains=4), activation="tanh", samples=8).report
    assert report.labellings == 4
    assert report.off == pytest.approx(0.75)
    assert report.rhat_before.median > 2.0
    assert report.rhat_after.worst < 1.1
    assert report.rhat_before.above > report.rhat_after.above


def test_without_hidden_units_nothing_applies():
    report = analyze_samples(
        given({"fc.weight": np.random.default_rng(5).normal(size=(30, 2, 3))}), samples=4
    ).report
    assert report.verdict == "not-applicable"
    assert report.variance_after == report.variance_before
    assert report.straddling_after.value == 0.0


def hmc(generator, count, burn, target, size, step=0.02, leaps=20):
    """Plain Hamiltonian Monte Carlo; ``target`` gives energy and gradient."""
    here = generator.standard_normal(size)
    energy, slope = target(here)
    kept = []
    for i in range(burn + count):
        momentum = generator.standard_normal(size)
        start = energy + 0.5 * momentum @ momentum
        there, new, gradient = here.copy(), energy, slope
        pace = step * generator.uniform(0.6, 1.2)
        for _ in range(leaps):
            momentum = momentum - 0.5 * pace * gradient
            there = there + pace * momentum
            new, gradient = target(there)
            momentum = momentum - 0.5 * pace * gradient
        if np.log(generator.random()) < start - new - 0.5 * momentum @ momentum:
            here, energy, slope = there, new, gradient
        if i >= burn:
            kept.append(here)
    return np.array(kept)


def unpacked(flat, shapes):
    parts = np.split(flat, np.cumsum([math.prod(s) for s in shapes.values()])[:-1], axis=-1)
    return {
        n: p.reshape(*flat.shape[:-1], *s) for (n, s), p in zip(shapes.items(), parts, strict=True)
    }


def regression_energy(inputs, targets, shapes, noise=0.3):
    def energy(flat):
        w = unpacked(flat, shapes)
        hidden = np.tanh(inputs @ w["fc1.weight"].T + w["fc1.bias"])
        rest = (hidden @ w["fc2.weight"].T + w["fc2.bias"] - targets) / noise
        back = (rest @ w["fc2.weight"]) * (1 - hidden**2) / noise
        slopes = (back.T @ inputs, back.sum(0), rest.T @ hidden / noise, rest.sum(0) / noise)
        return 0.5 * (rest**2).sum() + 0.5 * flat @ flat, np.concatenate(
            [s.ravel() for s in slopes]
        ) + flat

    return energy


def test_chains_of_a_real_sampler():
    """Four HMC chains on a tanh net: alignment removes most of what tells labels apart."""
    generator = np.random.default_rng(6)
    shapes = {"fc1.weight": (3, 1), "fc1.bias": (3,), "fc2.weight": (1, 3), "fc2.bias": (1,)}
    inputs = generator.uniform(-2, 2, (40, 1))
    energy = regression_energy(
        inputs, np.sin(2 * inputs) + 0.3 * generator.standard_normal((40, 1)), shapes
    )
    check = 1e-6 * np.eye(10)[3]
    point = generator.standard_normal(10)
    assert (energy(point + check)[0] - energy(point - check)[0]) / 2e-6 == pytest.approx(
        energy(point)[1][3], rel=1e-4
    )
    chains = [hmc(np.random.default_rng(20 + c), 200, 200, energy, 10)[::4] for c in range(4)]
    draws = unpacked(np.concatenate(chains), shapes)
    done = analyze_samples(given(draws, chains=4), activation="tanh", samples=64, starts=3)
    report = done.report
    assert report.verdict == "label switching"
    assert report.relabelling_share > 0.3
    assert report.rhat_after.median < report.rhat_before.median
    assert report.straddling_after.upper < report.straddling_before.lower
    for s in range(0, 200, 17):
        before, after = ({n: v[s] for n, v in d.items()} for d in (draws, done.alignment.draws))
        np.testing.assert_allclose(
            forward(after, inputs), forward(before, inputs), rtol=1e-10, atol=1e-12
        )


def test_an_ensemble_in_several_files(tmp_path):
    generator = np.random.default_rng(7)
    draws = shuffled(draws_of(generator, count=5), generator, 1.0)
    paths = [tmp_path / f"{s}.npz" for s in range(5)]
    for s, path in enumerate(paths):
        np.savez(path, **{name: values[s] for name, values in draws.items()})
    done = symdiag.analyze_samples(paths, activation="tanh", samples=8)
    assert done.report.labellings == 5
    assert done.report.off == pytest.approx(0.8)
    assert any("few" in note for note in done.report.notes)
    assert len(done.report.input.sha256) == 5
    done.save(tmp_path / "aligned.npz")
    again = analyze_samples(tmp_path / "aligned.npz", activation="tanh", samples=8).report
    assert again.variance_before == pytest.approx(done.report.variance_after)
    assert again.off == 0.0
    with pytest.raises(OutputError):
        done.save(tmp_path / "aligned.npz")


def test_aligned_chains_are_written_as_chains(tmp_path):
    done = analyze_samples(
        given(draws_of(np.random.default_rng(8), 12), chains=3), activation="tanh", samples=4
    )
    done.save(tmp_path / "a.npz")
    back = load_samples(tmp_path / "a.npz", sample_axes=2)
    assert back.chains == 3
    np.testing.assert_array_equal(back.draws["fc1.bias"], done.draws.draws["fc1.bias"])


@pytest.mark.parametrize("stacked", [False, True])
def test_running_statistics_move_with_their_units(tmp_path, stacked):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).double()
    net(4 * torch.randn(50, 3).double())  # running statistics of their own
    members = []
    for _ in range(6):
        state = {
            n: t + 0.01 * torch.rand_like(t) if t.is_floating_point() else t
            for n, t in net.state_dict().items()
        }
        order = torch.randperm(6)
        members.append({n: t[order] if t.ndim and n[0] in "01" else t for n, t in state.items()})
        members[-1]["3.weight"] = state["3.weight"][:, order]
    files = [tmp_path / f"{s}.pt" for s in range(6)]
    if stacked:
        files = files[:1]
        torch.save({n: torch.stack([m[n] for m in members]) for n in members[0]}, files[0])
    else:
        for path, member in zip(files, members, strict=True):
            torch.save(member, path)
    done = analyze_samples(files, activation="relu", samples=4)
    assert done.report.verdict == "label switching"
    assert done.report.input.covered_parameters == 48
    assert done.report.variance_after < 0.01 < done.report.variance_before
    done.save(tmp_path / "aligned.npz")
    inputs = torch.randn(20, 3).double()
    with np.load(tmp_path / "aligned.npz") as written:
        assert np.ptp(written["1.running_var"], axis=0).max() < 0.02
        for s, member in enumerate(members):
            outputs = []
            for state in (member, {**member, **{n: torch.tensor(written[n][s]) for n in written}}):
                net.load_state_dict(state)
                outputs.append(net.eval()(inputs))
            torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-12)


def test_the_files_own_keys_are_kept(tmp_path):
    draws = draws_of(np.random.default_rng(8), 12)
    keys = {"fc1.weight": "w1", "fc1.bias": "b1", "fc2.weight": "w2", "fc2.bias": "b2"}
    np.savez(
        tmp_path / "a.npz",
        **{keys[n]: v.swapaxes(1, 2) if "weight" in n else v for n, v in draws.items()},
    )
    analyze_samples(tmp_path / "a.npz", activation="tanh", samples=4).save(tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as before, np.load(tmp_path / "b.npz") as after:
        assert set(after) == set(keys.values())
        assert all((before[k] == after[k]).all() for k in after)


def test_a_spec_from_the_file_is_the_one_planted():
    found = infer_spec(given(draws_of(np.random.default_rng(9))).gaussian(), _network())
    assert [g.log_order for g in found] == [g.log_order for g in SPEC]


def _network():
    from symdiag.network import infer_network

    return infer_network(given(draws_of(np.random.default_rng(9))).gaussian(), activation="tanh")


def test_a_single_draw_is_no_set_of_draws(tmp_path):
    np.savez(tmp_path / "one.npz", **draws_of(np.random.default_rng(0), count=1))
    with pytest.raises(InputError) as error:
        analyze_samples(tmp_path / "one.npz")
    assert error.value.code == "not-samples"


@pytest.mark.parametrize("limit", [-0.1, 1.1, math.nan])
def test_limits_out_of_range_are_refused(limit):
    with pytest.raises(UsageError) as error:
        analyze_samples(given(draws_of(np.random.default_rng(0))), max_switching=limit)
    assert error.value.code == "bad-option"


def test_outputs_are_checked_before_work_starts(tmp_path):
    there = tmp_path / "a.npz"
    there.write_bytes(b"")
    check_output(None, [there], overwrite=False)
    check_output(there, [], overwrite=True)
    for path, inputs, code in ((there, [there], "would-overwrite"), (there, [], "exists"),
                               (tmp_path / "no" / "a.npz", [], "write-failed")):  # fmt: skip
        with pytest.raises((UsageError, OutputError)) as error:
            check_output(path, inputs, overwrite=False)
        assert error.value.code == code


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_values_that_cannot_be_squared_are_refused(size):
    draws = draws_of(np.random.default_rng(0), 6)
    with pytest.raises(InputError) as error:
        analyze_samples(given({**draws, "fc1.bias": size * draws["fc1.bias"]}))
    assert error.value.code == "non-finite"


@pytest.mark.parametrize("others", [{}, {"sigma": np.ones((2, 10))}])
def test_a_forgotten_chain_axis_is_suggested(tmp_path, others):
    draws = draws_of(np.random.default_rng(0), 20)
    chains = {name: values.reshape(2, 10, *values.shape[1:]) for name, values in draws.items()}
    np.savez(tmp_path / "a.npz", **chains, **others)
    with pytest.raises(InputError) as error:
        analyze_samples(tmp_path / "a.npz", activation="tanh")
    assert "--chains" in error.value.hint
    with pytest.raises(InputError) as error:
        analyze_samples(given({**draws, "fc2.weight": draws["fc1.weight"]}), activation="tanh")
    assert "--chains" not in error.value.hint
