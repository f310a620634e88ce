"""Scores of a model, or of any maps, by the protocol of a benchmark."""

from jaxsal.evaluation.run import evaluate
from jaxsal.evaluation.submission import submit

__all__ = ["evaluate", "submit"]
