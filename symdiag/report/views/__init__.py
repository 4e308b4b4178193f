"""One file per kind of report: ``KIND``, the dataclass ``MODEL``, and ``document(model) -> Document``."""
