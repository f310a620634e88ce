"""The page as a whole, with its metrics, its protocol and its table of videos.

Names come from disk, so every text goes through `escaped`.
"""

import importlib.resources
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxsal import files
from jaxsal.data.catalogue import DATASETS
from jaxsal.evaluation import published
from jaxsal.evaluation.report import comparison, examples, histogram, results
from jaxsal.evaluation.report.markup import arrow, counted, escaped, rounded
from jaxsal.metrics import METRICS, Metric

_PROTOCOL = {
  "frames": "Frames",
  "mean": "Mean",
  "nan_policy": "Undefined values",
  "other_map": "Other map of the shuffled AUC",
  "resize": "Resizing",
  "post_processing": "Post-processing",
}


def write(out: str | Path) -> Path:
  """Writes `report.html` into the folder of an evaluation.

  Args:
    out: folder of the evaluation, with `scores.json` and `videos/*.npz`.

  Returns:
    The path of the page, which is a single file and loads nothing.

  Raises:
    UserError: `out` holds no finished evaluation.
  """
  out = Path(out)
  found = results.read(out)
  summary = found.summary
  name = _source_name(summary["source"])
  dataset, _, _ = summary["dataset"].partition("/")
  page = string.Template(_resource("page.html")).substitute(
    css=_resource("page.css"),
    js=_resource("page.js"),
    title=escaped(f"{name} on {DATASETS.get(dataset, dataset)}, {summary['split']}"),
    videos_count=counted(len(summary["videos"]), "video"),
    scored=f"{summary['scored_frames']:,}",
    frames=counted(summary["frames"], "frame"),
    facts=_facts(summary),
    metrics="".join(_card(METRICS[key], found) for key in summary["metrics"]),
    comparison=comparison.section(summary, name),
    protocol_name=escaped(summary["protocol"]["name"]),
    protocol=_definitions({_PROTOCOL[key]: summary["protocol"][key] for key in _PROTOCOL}),
    examples=examples.section(found),
    videos=_videos(summary),
    version=escaped(summary["jaxsal"]),
  )
  path = out / "report.html"
  files.write_text(path, page)
  return path


def _resource(name: str) -> str:
  return importlib.resources.files("jaxsal.evaluation.report").joinpath(name).read_text("utf-8")


def _source_name(source: Mapping[str, Any]) -> str:
  """Returns the name of the evaluated system in print."""
  match source["kind"]:
    case "model":
      return published.title(source["name"])
    case "maps":
      return f"Maps “{source['name']}”"
  return source["name"].capitalize()


def _facts(summary: Mapping[str, Any]) -> str:
  """Lists what was evaluated on what, as markup."""
  source = summary["source"]
  facts = {source["kind"].capitalize(): source["path"] or source["name"]}
  if source["weights_sha256"]:
    facts["Weights (SHA-256)"] = source["weights_sha256"][:12]
  facts["Data set"] = f"{summary['dataset']}, {summary['split']}"
  facts["Protocol"] = summary["protocol"]["name"]
  return _definitions(facts)


def _definitions(items: Mapping[str, str]) -> str:
  """Makes a list of terms and their definitions, as markup."""
  return "".join(
    f"<div><dt>{escaped(term)}</dt><dd>{escaped(definition)}</dd></div>"
    for term, definition in items.items()
  )


def _card(metric: Metric, found: results.Results) -> str:
  """Makes the card of a metric: its score, its distribution over frames, and its meaning."""
  score = found.summary["scores"][metric.key]
  direction = "higher is better" if metric.higher_is_better else "lower is better"
  title = f"{metric.title} of single frames"
  chart = histogram.svg(found.values[metric.key], score["mean"], title)
  return (
    f'<article class="metric"><h3>{metric.title} <small>{arrow(metric)} {direction}</small></h3>'
    f'<p class="name">{metric.name}</p><p class="value">{rounded(score["mean"])}</p>{chart}'
    f'<p class="meaning">{metric.meaning}</p>'
    f'<p class="count">{counted(score["count"], "frame")}, {score["dropped"]:,} dropped</p>'
    "</article>"
  )


def _videos(summary: Mapping[str, Any]) -> str:
  """Makes the table of all videos, which the page's script sorts."""
  metrics, videos = summary["metrics"], summary["videos"]
  ranges = {}
  for metric in metrics:
    known = [score for video in videos if (score := video["scores"][metric]) is not None]
    ranges[metric] = min(known, default=0), max(known, default=0)
  columns = ["#", "Video", "Frames", *(METRICS[key].title for key in metrics), "Dropped"]
  heads = "".join(
    f'<th scope="col"{kind}><button type="button">{column}</button></th>'
    for column in columns
    for kind in [' class="name"' if column == "Video" else ""]
  )
  rows = []
  for i, video in enumerate(videos):
    cells = "".join(_bar(video["scores"][metric], *ranges[metric]) for metric in metrics)
    dropped = max(video["dropped"].values(), default=0)
    rows.append(
      f'<tr id="video-{i}"><td data-value="{i}">{i}</td>'
      f'<th scope="row">{escaped(video["name"])}</th>'
      f'<td data-value="{video["frames"]}">{video["frames"]:,}</td>{cells}'
      f'<td data-value="{dropped}">{dropped:,}</td></tr>'
    )
  return (
    '<div class="scroll tall" tabindex="0"><table class="sortable"><thead>'
    f"<tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
  )


def _bar(value: float | None, low: float, high: float) -> str:
  """Makes a cell with a bar, full at the column's highest value and empty at its lowest."""
  if value is None:
    return f'<td data-value="">{rounded(value)}</td>'
  share = 100 * (value - low) / (high - low) if high > low else 100
  return f'<td class="bar" style="--v:{share:.0f}" data-value="{value!r}">{rounded(value)}</td>'
