"""Faulty files through the real analysis: one line, a code, exit 2; nothing executed."""

import json
import os
import pickle
import zipfile

import jsonschema
import numpy as np
import pytest

from symdiag.cli.main import main
from symdiag.report.error_codes import ERROR_CODES
from symdiag.report.schemas import schema_text


def arrays(**changes):
    rng = np.random.default_rng(0)
    made = {}
    for name, shape in (
        ("fc1.weight", (4, 3)),
        ("fc1.bias", (4,)),
        ("fc2.weight", (2, 4)),
        ("fc2.bias", (2,)),
    ):
        made[f"{name}_mu"], made[f"{name}_std"] = rng.normal(size=shape), np.full(shape, 0.1)
    return {**made, **changes}


class Payload:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def truncated(path):
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:700])


def payload_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(), 0))
        archive.writestr("archive/version", "3")


def renamed(old, new):
    return lambda path: np.savez(path, **{k.replace(old, new): v for k, v in arrays().items()})


FAULTS = {
    "missing": (lambda path: None, {"not-found"}),
    "empty": (lambda path: path.write_bytes(b""), {"empty-file"}),
    "random": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        {"unrecognised"},
    ),
    "truncated": (truncated, {"truncated"}),
    "directory": (lambda path: path.mkdir(), {"not-a-file"}),
    "lfs": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        ),
        {"lfs-pointer"},
    ),
    "html": (lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), {"html-page"}),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Payload(), 0)), {"unsafe-checkpoint"}),
    "pickle-in-zip": (payload_zip, {"unsafe-checkpoint"}),
    "nan": (
        lambda path: np.savez(path, **arrays(**{"fc1.bias_mu": np.full(4, np.nan)})),
        {"non-finite"},
    ),
    "negative-std": (
        lambda path: np.savez(path, **arrays(**{"fc1.bias_std": np.full(4, -1.0)})),
        {"ambiguous-scale-transform"},
    ),
    "infinite-std": (
        lambda path: np.savez(path, **arrays(**{"fc1.bias_std": np.full(4, np.inf)})),
        {"non-finite", "bad-scale"},
    ),
    "unknown-sigma": (renamed("_std", "_sigma"), {"ambiguous-scale-transform"}),
    "deterministic": (
        lambda path: np.savez(
            path, **{k.removesuffix("_mu"): v for k, v in arrays().items() if "_std" not in k}
        ),
        {"no-scales-found"},
    ),
    "broken-chain": (
        lambda path: np.savez(
            path, **arrays(**{"fc2.weight_mu": np.ones((2, 9)), "fc2.weight_std": np.ones((2, 9))})
        ),
        {"broken-chain"},
    ),
    "shapes": (
        lambda path: np.savez(path, **arrays(**{"fc1.weight_std": np.ones((3, 4))})),
        {"shape-mismatch"},
    ),
}
if hasattr(os, "mkfifo"):
    FAULTS["fifo"] = (os.mkfifo, {"not-a-file"})
    FAULTS["link-to-itself"] = (lambda path: path.symlink_to(path), {"unreadable"})


@pytest.mark.parametrize("fault", FAULTS)
def test_one_line_a_code_and_exit_2(fault, tmp_path, capsys):
    make, codes = FAULTS[fault]
    make(tmp_path / "model.npz")
    for command in ("analyze", "inspect"):
        assert main([command, "model.npz"]) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert len(captured.err.splitlines()) <= 1
        assert main([command, "model.npz", "--format", "json"]) == 2
        data = json.loads(capsys.readouterr().out)
        code = (data.get("error") or data["problem"])["code"]
        assert code in codes
        assert code in ERROR_CODES
    assert not (tmp_path / "canary").exists()


def test_inspect_tells_the_posterior_of_a_network_it_cannot_make_out(tmp_path, capsys):
    FAULTS["broken-chain"][0](tmp_path / "model.npz")
    assert main(["inspect", "model.npz", "--format", "json"]) == 2
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(schema_text("inspect")))
    assert (data["problem"]["code"], data["dialect"], data["scale_transform"]) == (
        "broken-chain",
        "handwritten",
        "identity",
    )
    assert data["scale_range"] == [0.1, 1.0]
    assert len(data["tensors"]) == 4
    assert data["groups"] == []


def test_a_faulty_file_writes_no_report(tmp_path, capsys):
    (tmp_path / "model.npz").write_bytes(b"")
    assert main(["analyze", "model.npz", "-o", "r.json"]) == 2
    assert not (tmp_path / "r.json").exists()


def test_trivial_groups_are_not_applicable(tmp_path, capsys):
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (1, 3), "fc2.weight": (2, 1)}
    np.savez(tmp_path / "narrow.npz", **{f"{n}_mu": rng.normal(size=s) for n, s in shapes.items()},
             **{f"{n}_std": np.full(s, 0.1) for n, s in shapes.items()})  # fmt: skip
    np.savez(
        tmp_path / "linear.npz",
        **{"fc1.weight_mu": np.ones((2, 3)), "fc1.weight_std": np.full((2, 3), 0.1)},
    )
    for name in ("narrow.npz", "linear.npz"):
        assert main(["analyze", name, "--format", "json", "--strict"]) == 0
        assert json.loads(capsys.readouterr().out)["verdict"] == "not-applicable"


@pytest.mark.parametrize(("std", "verdict"), [(3.0, "inconclusive"), (0.01, "ok")])
def test_a_single_draw_decides_nothing_where_the_bound_without_draws_does_not(
    std, verdict, tmp_path, capsys
):
    made = {k: np.full(v.shape, std) if k.endswith("_std") else v for k, v in arrays().items()}
    np.savez(tmp_path / "m.npz", **made)
    assert (
        main(["analyze", "m.npz", "--samples", "1", "--max-straddling", "0.5", "--format", "json"])
        == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert data["total"]["straddling_entropy"]["std_error"] is None
    assert data["verdict"] == verdict


@pytest.mark.parametrize("command", ["analyze", "retrain"])
@pytest.mark.parametrize("device", ["cuda:99", "toaster", "cuda:-1", "meta"])
def test_a_device_that_is_not_there_is_a_usage_error(command, device, tmp_path, capsys):
    path = tmp_path / "model.npz"
    np.savez(path, **arrays())
    data = tmp_path / "data.npz"
    np.savez(data, X=np.zeros((3, 3)), y=np.zeros((3, 2)))
    more = ["--data", str(data)] if command == "retrain" else []
    assert main([command, str(path), *more, "--format", "json", "--device", device]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-option"
