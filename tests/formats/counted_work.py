"""Work counted instead of timed: how many functions a call enters, compiled ones among them."""

import sys


def functions_entered(call):
    """Calls, generator resumptions and calls of C functions while ``call()`` runs."""
    count = 0

    def profile(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


def grows_in_proportion(make_call, size):
    """Whether twice the size is at most 2.2 times the work; a quadratic part would make it near 4."""
    make_call(size)()  # caches and lazy imports
    return functions_entered(make_call(2 * size)) <= 2.2 * functions_entered(make_call(size))
