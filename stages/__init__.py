"""The science: one module per stage. `STAGES` holds their declarations in the order of the card.

In a notebook: `from clusterpipe.stages.assign import assign`, and so on.
"""

from importlib import import_module

from clusterpipe.stages.declaration import STAGES

for _module in (
    "embed",
    "estimate_k",
    "refine",
    "assign",
    "correct",
    "levels",
    "caption",
    "evaluate",
    "curate",
):
    import_module(f"clusterpipe.stages.{_module}")

__all__ = ["STAGES"]
