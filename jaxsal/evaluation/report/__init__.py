"""The report of an evaluation: one HTML file that loads nothing, neither libraries nor pictures."""

from jaxsal.evaluation.report.page import write

__all__ = ["write"]
