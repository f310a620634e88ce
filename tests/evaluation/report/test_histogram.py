"""Tests the histograms."""

import re

import numpy as np
import pytest

from jaxsal.evaluation.report import histogram


def _heights(svg):
  """Returns the heights of the bars that are drawn."""
  bars = re.search(r'class="bars" d="([^"]*)"', svg)[1]
  return [float(height) for height in re.findall(r"v-([\d.]+)h", bars)]


def _labels(svg):
  return [float(text) for text in re.findall(r"<text[^>]*>([^<]+)</text>", svg)]


def test_bars_count_and_the_mean_is_at_its_place():
  values = np.float32([0] * 10 + [10] * 30 + [np.nan] * 5)
  svg = histogram.svg(values, 7.5, "title")
  assert _labels(svg)[0] == 0 and _labels(svg)[-1] == 10
  small, large = _heights(svg)
  assert large == pytest.approx(3 * small, rel=0.01)
  assert 'class="mean" d="M180.0' in svg  # three quarters of 240


def test_the_outermost_bars_gather_the_tails():
  values = np.concatenate([np.linspace(0, 1, 1000), [1e6]])
  svg = histogram.svg(values, 0.5, "title")
  assert _labels(svg)[-1] <= 1.2
  assert len(_heights(svg)) >= 30


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_without_values_only_the_axis(values):
  svg = histogram.svg(np.float32(values), None, "title")
  assert _heights(svg) == [] and 'class="mean"' not in svg and 'class="axis"' in svg


def test_one_value():
  svg = histogram.svg(np.float32([0.3]), 0.3, "title")
  assert len(_heights(svg)) == 1 and "nan" not in svg
