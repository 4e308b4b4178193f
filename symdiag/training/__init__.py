"""Retraining: the learning problem, one run of an objective, a job of several, evaluation.

Public: ``config`` (options), ``data``, ``learning_problem``, ``prior``, ``job``, ``evaluation``,
``verdict``, ``metrics``. The others serve these.
"""
