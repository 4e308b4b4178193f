"""One file per kind of report, named as it: ``document(report) -> Document``."""
