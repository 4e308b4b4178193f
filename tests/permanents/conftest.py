import pytest


@pytest.fixture(params=["numba", "numpy"])
def backend(request, monkeypatch):
    """Run a test with the compiled kernels and with the NumPy fallback."""
    if request.param == "numpy":
        monkeypatch.setenv("SYMDIAG_NO_NUMBA", "1")
    else:
        pytest.importorskip("numba")
        monkeypatch.delenv("SYMDIAG_NO_NUMBA", raising=False)
    return request.param
