"""Write the shipped JSON Schemas anew from the report dataclasses: ``python .ci/write_schemas.py``."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from symdiag.report.schemas import generated_schema, schema_names  # noqa: E402

for name in schema_names():
    path = ROOT / "symdiag" / "report" / "schema" / f"{name}-1.json"
    path.write_text(
        json.dumps(generated_schema(name), indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
