"""The solver of every plan: HiGHS by scipy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any


def solve(*programme: Any, **given: Any) -> Any:
    """`scipy.optimize.milp`, which hears Ctrl-C at once: HiGHS itself would not until its time limit.

    It leaves Python alone while it works, so it works in a thread, which nobody waits for after an interruption.
    """
    from scipy.optimize import milp

    pool = ThreadPoolExecutor(1)
    try:
        work = pool.submit(milp, *programme, **given)
        while not work.done():
            wait([work], timeout=0.1)  # in pieces: whichever thread the signal reached, Python looks for it here
        return work.result()
    finally:
        pool.shutdown(wait=False)
