"""What training maximises: likelihoods, the terms objectives add to −L, and the penalty for others.

Public: the rooms ``likelihoods`` and ``terms``, ``variational`` and ``penalty``. Nothing is
imported here: the rooms can be listed without torch.
"""

__all__ = ["likelihoods", "penalty", "terms", "variational"]
