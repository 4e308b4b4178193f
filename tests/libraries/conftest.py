"""Tests against the real BNN libraries; each is skipped unless its library is installed.

They are not part of the default test environment, as several pin or break other packages. To run them, in an
environment of its own (torch first, so that nothing replaces it):

    pip install torch && pip install -e '.[test]'
    pip install -e '.[libraries]' && pytest tests/libraries

Where a library's pins clash, install it with ``pip install --no-deps NAME`` and its missing imports one by one. A
torchvision built for another torch fails to import for want of its compiled operators, and takes laplace-torch,
probly and torch-uncertainty with it; none of these operators is used here, so they are left out below.
"""

import importlib
import warnings

import pytest
import torch


def _register_without_vision(original):
    def register(op, *args, **kwargs):
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return original(op, *args, **kwargs)

    return register


def pytest_collection_modifyitems(items):
    """Their warnings are not ours."""
    for item in items:
        if "libraries" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session", autouse=True)
def _torchvision_without_operators():
    patch = pytest.MonkeyPatch()
    patch.setattr(
        torch.library, "register_fake", _register_without_vision(torch.library.register_fake)
    )
    yield
    patch.undo()


@pytest.fixture
def library():
    """Import a library whatever it warns of, or skip the test."""

    def load(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(name.split(".")[0], exc_type=ImportError)
            return importlib.import_module(name)

    return load


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
