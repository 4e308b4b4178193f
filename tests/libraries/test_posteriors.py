import numpy as np
import torch
from library_checks import TIGHT

import symdiag.formats as formats


def test_a_dict_of_params_and_log_sds(tmp_path, library):
    posteriors = library("posteriors")
    torchopt = library("torchopt")
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    x, y = torch.randn(16, 2), torch.randn(16, 1)

    def log_posterior(params, batch):
        return -(
            (torch.func.functional_call(model, params, batch[0]) - batch[1]) ** 2
        ).sum(), torch.tensor([])

    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr=0.05), temperature=1.0)
    state = transform.init(dict(model.named_parameters()))
    for _ in range(3):
        state, _ = transform.update(state, (x, y))
    plain = {
        "params": {n: p.detach() for n, p in state.params.items()},
        "log_sd_diag": {n: p.detach() for n, p in state.log_sd_diag.items()},
    }
    torch.save(plain, tmp_path / "state.pt")
    posterior = formats.load(tmp_path / "state.pt")

    draws = posteriors.vi.diag.sample(state, torch.Size([4000]))
    for name in posterior.names:
        values = draws[name].detach().double().numpy()
        spread = values.std(axis=0) / posterior.scale[name]
        assert abs(spread - 1).max() < 5 / (2 * 4000) ** 0.5
        assert (
            abs(values.mean(axis=0) - posterior.loc[name]) / posterior.scale[name]
        ).max() < 5 / 4000**0.5

    formats.save(posterior, tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    for tree in ("params", "log_sd_diag"):
        assert all(torch.equal(again[tree][name], plain[tree][name]) for name in plain[tree])
    np.testing.assert_allclose(
        posterior.scale["0.weight"],
        np.exp(plain["log_sd_diag"]["0.weight"].double().numpy()),
        **TIGHT,
    )
