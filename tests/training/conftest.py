"""The fixtures of this folder; the helpers behind them are shared with the command's tests."""

from training_examples import checkpoint, data_files, problem

__all__ = ["checkpoint", "data_files", "problem"]
