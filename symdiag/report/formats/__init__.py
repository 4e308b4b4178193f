"""One file per output format: ``EXTENSIONS`` and ``render(entries, options) -> str``; found by listing this package."""
