"""What other tools take of ours: experiment trackers a report's numbers, Lightning a callback.

None of these tools is required; each is imported by the call that needs it.
"""

from symdiag.integrations.lightning import monitor_class
from symdiag.integrations.loggers import log_to_mlflow, log_to_tensorboard, log_to_wandb

TYPE_CHECKING = False  # as in symdiag/__init__.py
if TYPE_CHECKING:
    from symdiag.integrations.lightning import Monitor as StraddlingMonitor

__all__ = ["StraddlingMonitor", "log_to_mlflow", "log_to_tensorboard", "log_to_wandb"]


def __getattr__(name: str) -> type:
    # a class cannot be made before its base is there, and Lightning takes seconds to import
    if name == "StraddlingMonitor":
        return monitor_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
