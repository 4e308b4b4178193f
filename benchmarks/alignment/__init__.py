"""Alignment: speed and final distance beside the tools people use for point weights."""
