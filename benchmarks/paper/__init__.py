"""The paper's experiments and what lies beyond them: ``python -m benchmarks.paper NAME`` (docs/reproduction.md)."""
