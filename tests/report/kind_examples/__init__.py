"""``KIND.py`` holds ``EXAMPLES``, reports of one kind; found by listing this folder."""

import importlib
import pkgutil

EXAMPLES = {
    m.name: importlib.import_module(f"{__name__}.{m.name}").EXAMPLES
    for m in pkgutil.iter_modules(__path__)
}
