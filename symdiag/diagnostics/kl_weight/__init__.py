"""The weight T of the KL that a posterior was trained with, read from its gradients.

At a stationary point of E[log p(y|x,ω)] − T·KL every variational parameter has
∂E[log p] = T·∂KL. Both sides follow from the checkpoint, its data, likelihood and prior, so T is
the slope of one on the other; how well the line fits says whether the point is stationary.

Public: ``result`` (what a report holds; no torch), ``gradients``, ``regression``, ``parts``,
``conventions`` and ``meter``. Nothing is imported here, so that reports can be read without torch.
"""

__all__ = ["conventions", "gradients", "meter", "parts", "regression", "result"]
