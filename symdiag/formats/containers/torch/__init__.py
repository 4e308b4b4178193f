"""Torch's ways of putting objects into a file, all read without running the pickle inside.

``archive`` is what torch.save writes today, ``legacy`` what it wrote before zip, ``bare`` a pickle
with tensors or numpy arrays in it. The three share one interpreter (``_machine``), one table of
what a pickle may ask for (``_values``), and one way to plain dicts of arrays (``_plain``).
"""
