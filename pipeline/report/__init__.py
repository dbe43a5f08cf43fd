"""`clusterpipe report`: one folder that shows a run in any browser, from disk, without network."""

from clusterpipe.pipeline.report.writing import Report, ReportSettings, write_report

__all__ = ["Report", "ReportSettings", "write_report"]
