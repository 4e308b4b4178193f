"""Finding families. Each module defines ``EXPLANATIONS`` and ``find(context) -> Iterable[Finding]``."""
