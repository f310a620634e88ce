"""Saliency maps of videos and images: in memory for short ones, in files for any number."""

from jaxsal.prediction.files import Report, predict_file
from jaxsal.prediction.images import predict_images
from jaxsal.prediction.options import PredictOptions
from jaxsal.prediction.predictor import Predictor, predict

__all__ = ["PredictOptions", "Predictor", "Report", "predict", "predict_file", "predict_images"]
