"""Compare the JSON reports of two checkouts, outside ``run`` and fields that only this tree has (they are named).

``python .ci/same_reports.py BASE_TREE FOLDER …``: every command is run in this tree and in BASE_TREE on the sample
models and on the checkpoints of each FOLDER; differences are listed and exit 1. Each tree runs in one process of its
own, so that nothing of the other is imported.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
SAMPLES = "sample_models"
ENDINGS = (".pt", ".pth", ".bin", ".save", ".safetensors", ".pkl", ".ckpt")

RUNNER = """
import contextlib, io, json, sys, traceback
sys.path.insert(0, sys.argv[1])
from symdiag.cli.main import main
import symdiag
assert symdiag.__file__.startswith(sys.argv[1]), symdiag.__file__
results = {}
for command in json.load(open(sys.argv[2])):
    out, err = io.StringIO(), io.StringIO()
    out.buffer = io.BytesIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except BaseException:
            code = traceback.format_exc()
    text = out.getvalue() or out.buffer.getvalue().decode()
    results[" ".join(command)] = [code, text]
json.dump(results, open(sys.argv[3], "w"))
"""


def commands(folders: list, scratch: Path) -> list:
    """Argument lists: every command on the sample models, analyze and inspect on all files of the folders."""
    s = SAMPLES
    retrain = [
        "--steps",
        "20",
        "--control-runs",
        "1",
        "--samples",
        "20",
        "--noise",
        "0.3",
        "--prior-std",
        "1",
    ]
    found = [
        ["analyze", f"{s}/wave-straddled.pt", "--activation", "relu", "--infonce", "5"],
        [
            "analyze",
            f"{s}/wave-healthy.pt",
            "--activation",
            "relu",
            "--data",
            f"{s}/wave.npz",
            "--noise",
            "0.3",
        ],
        ["analyze", f"{s}/wave-healthy.pt", "--activation", "relu"],
        ["analyze", f"{s}/wave-tanh.pt", "--activation", "tanh"],
        ["analyze", f"{s}/digits.pt", "--activation", "relu", "--reference", f"{s}/digits.pt"],
        ["analyze", f"{s}/diabetes-deep.safetensors", "--activation", "tanh"],
        ["align", f"{s}/wave-straddled.pt", f"{s}/wave-healthy.pt", "--activation", "relu"],
        [
            "align",
            f"{s}/wave-straddled.pt",
            f"{s}/wave-healthy.pt",
            "--activation",
            "relu",
            "--cost",
            "kl",
            "--data",
            f"{s}/wave.npz",
        ],
        [
            "align",
            f"{s}/wave-straddled.pt",
            f"{s}/wave-healthy.pt",
            "--activation",
            "relu",
            "--universe",
        ],
        ["samples", f"{s}/wave-straddled.pt", f"{s}/wave-healthy.pt"],
        [
            "retrain",
            f"{s}/wave-healthy.pt",
            "--activation",
            "relu",
            "--data",
            f"{s}/wave.npz",
            "--test",
            f"{s}/wave-test.npz",
            *retrain,
        ],
        [
            "retrain",
            f"{s}/digits.pt",
            "--activation",
            "relu",
            "--data",
            f"{s}/digits.npz",
            "--likelihood",
            "categorical",
            "--steps",
            "4",
            "--control-runs",
            "1",
            "--samples",
            "4",
            "--prior-std",
            "1",
        ],
        ["analyze", f"{s}/missing.pt"],
        ["analyze", f"{s}/wave-straddled.pt", "--activation", "nonsense"],
    ]
    files = [
        p
        for folder in [HERE / s, *folders]
        for p in sorted(Path(folder).rglob("*"))
        if p.suffix in ENDINGS
    ]
    for path in files:
        name = str(path.relative_to(HERE)) if path.is_relative_to(HERE) else str(path)
        found += [["inspect", name], ["analyze", name, "--samples", "16"]]
    first, second = scratch / "first.json", scratch / "second.json"
    found += [
        [
            "analyze",
            f"{s}/wave-healthy.pt",
            "--activation",
            "relu",
            "-o",
            f"json={first}",
            "--exit-zero",
        ],
        [
            "analyze",
            f"{s}/wave-straddled.pt",
            "--activation",
            "relu",
            "-o",
            f"json={second}",
            "--exit-zero",
        ],
        ["compare", str(first), str(second)],
        ["report", str(second)],
    ]
    return [
        [*command, *([] if command[0] in ("report",) else ["--format", "json"])]
        for command in found
    ]


def results(tree: Path, listed: list, scratch: Path) -> dict:
    """Command → [exit code, parsed stdout without what is volatile], run within ``tree``."""
    wanted, answer = scratch / "commands.json", scratch / f"answer-{tree.name}.json"
    wanted.write_text(json.dumps(listed))
    subprocess.run(
        [sys.executable, "-c", RUNNER, str(tree), str(wanted), str(answer)], cwd=tree, check=True
    )
    return {
        name: [code, stable(text)] for name, (code, text) in json.loads(answer.read_text()).items()
    }


def stable(text: str) -> object:
    """The report without ``run`` blocks and times; text that is no JSON as it is."""
    try:
        return without_run(json.loads(text))
    except ValueError:
        return text


def without_run(value: object) -> object:
    """``value`` without any key ``run``, at whatever depth."""
    if isinstance(value, dict):
        return {k: without_run(v) for k, v in value.items() if k != "run"}
    return [without_run(v) for v in value] if isinstance(value, list) else value


def without_added(mine: object, theirs: object, added: set, where: str = "") -> object:
    """``mine`` without the keys that ``theirs`` lacks, which go into ``added``: version 1 allows new fields."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        added |= {f"{where}.{key}" for key in mine.keys() - theirs.keys()}
        shared = (key for key in mine if key in theirs)
        return {k: without_added(mine[k], theirs[k], added, f"{where}.{k}") for k in shared}
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = zip(mine, theirs, strict=True)
        return [without_added(a, b, added, f"{where}[]") for a, b in pairs]
    return mine


def differences(mine: object, theirs: object, where: str = "") -> list:
    """Paths at which two JSON values differ, with both values."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = [*theirs, *(k for k in mine if k not in theirs)]
        order = (
            [] if list(mine) == list(theirs) else [f"{where}: keys {list(theirs)} -> {list(mine)}"]
        )
        return order + [
            d for k in keys for d in differences(mine.get(k), theirs.get(k), f"{where}.{k}")
        ]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [
            d
            for i, (a, b) in enumerate(zip(mine, theirs, strict=True))
            for d in differences(a, b, f"{where}[{i}]")
        ]
    return (
        []
        if mine == theirs and type(mine) is type(theirs)
        else [f"{where}: {theirs!r} -> {mine!r}"]
    )


def main() -> int:
    """Run, compare, list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--only", default="", help="Commands that hold this text.")
    parser.add_argument("--most", type=int, default=6, help="Differences shown per command.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        folders = [f.resolve() for f in given.folders]
        listed = [c for c in commands(folders, scratch) if given.only in " ".join(c)]
        before = results(given.base.resolve(), listed, scratch)
        after = results(HERE, listed, scratch)
    bad, added = 0, set()
    for name in before:
        found = differences(without_added(after[name], before[name], added), before[name])
        bad += bool(found)
        if found:
            print(
                f"DIFFERENT {name}", *[f"  {line[:300]}" for line in found[: given.most]], sep="\n"
            )
    if added:
        print("added:", ", ".join(sorted(field.removeprefix("[].") for field in added)))
    print(f"{len(before) - bad} of {len(before)} commands give the same report")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
