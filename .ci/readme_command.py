"""Print a command of the README: the code block that follows ``<!-- NAME -->``."""

import re
import sys
from pathlib import Path

text = Path("README.md").read_text(encoding="utf-8")
found = re.search(rf"<!-- {re.escape(sys.argv[1])} -->\s*```\w*\n(.*?)```", text, re.S)
if found is None:
    sys.exit(f"README.md has no block named {sys.argv[1]}")
print(found.group(1).strip())
