"""The program: configure, plan, run, tell.

In Python: `from clusterpipe.pipeline import Config, run_all`, then `run_all(config)`.
"""

from clusterpipe.pipeline.engine.config import Config
from clusterpipe.pipeline.engine.execute import RunResult, run_stage
from clusterpipe.pipeline.whole_run import run_all

__all__ = ["Config", "RunResult", "run_all", "run_stage"]
