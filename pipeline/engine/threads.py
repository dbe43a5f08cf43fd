"""Threads of the numeric libraries: as many as cores may be used, and no spinning while waiting."""

import os

from clusterpipe.cache.cores import usable_cores

NUMBER = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
WAITING = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin cost 7 times the CPU on a busy machine
    "KMP_BLOCKTIME": "0",  # the same for Intel's library
    "OPENBLAS_THREAD_TIMEOUT": "4",  # and for OpenBLAS: 2^4 cycles
}


def use_threads(count: int = 0) -> None:
    """Has the libraries compute in `count` threads; 0 = the cores this process may use.

    What the environment says goes before a count of 0. Libraries read it when they are loaded, so
    this comes before them; NumPy's, which is loaded already, is told.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
    if not count and any(os.environ.get(name) for name in NUMBER):
        return
    wanted = count or usable_cores()
    for name in NUMBER:
        os.environ[name] = str(wanted)
    if count or wanted < (os.cpu_count() or 1):
        from threadpoolctl import threadpool_limits

        threadpool_limits(wanted)
