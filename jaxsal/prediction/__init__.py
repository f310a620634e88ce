"""Saliency maps of whole videos: in memory for short ones, in files for videos of any length."""

from jaxsal.prediction.files import Report, predict_file
from jaxsal.prediction.options import PredictOptions
from jaxsal.prediction.predictor import Predictor, predict

__all__ = ["PredictOptions", "Predictor", "Report", "predict", "predict_file"]
