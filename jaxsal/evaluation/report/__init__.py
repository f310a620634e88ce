"""The evaluation's report: one HTML file that needs nothing else, no network and no library."""

from jaxsal.evaluation.report.page import write

__all__ = ["write"]
