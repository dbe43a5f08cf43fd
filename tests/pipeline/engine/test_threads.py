"""The number of threads that the libraries take, in processes of their own."""

import os
import subprocess
import sys

import pytest

from clusterpipe.cache.cores import usable_cores

CODE = """
import numpy, sys
from clusterpipe.pipeline.engine.threads import use_threads
use_threads(int(sys.argv[1]))
import scipy.linalg, faiss, os
from threadpoolctl import threadpool_info
print(sorted({pool["num_threads"] for pool in threadpool_info()}), os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(("count", "given", "expected"), [(1, "2", 1), (0, "", None)])
def test_every_library_takes_the_threads_it_is_told(
    count: int, given: str, expected: int | None
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    own = {"OMP_NUM_THREADS": given, "OPENBLAS_NUM_THREADS": given} if given else {}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(count)],
        env={**kept, **own},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == f"[{expected or usable_cores()}] PASSIVE\n"
