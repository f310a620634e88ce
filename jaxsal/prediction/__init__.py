"""Saliency maps of whole videos: in memory for short ones, into files for any length."""

from jaxsal.prediction.files import Report, predict_file
from jaxsal.prediction.predictor import Predictor, predict

__all__ = ["Predictor", "Report", "predict", "predict_file"]
