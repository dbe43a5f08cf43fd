"""The program: configure, plan, run, tell.

In Python: `from clusterpipe.pipeline import Config, run_all`, then `run_all(config)`.
"""

from clusterpipe.pipeline.config import Config
from clusterpipe.pipeline.run import RunResult, run_all, run_stage

__all__ = ["Config", "RunResult", "run_all", "run_stage"]
