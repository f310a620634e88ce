"""The section that compares the scores with bounds and with the papers' scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jaxsal.data.catalogue import DATASETS
from jaxsal.evaluation import published
from jaxsal.evaluation.report.markup import arrow, escaped, rounded
from jaxsal.metrics import METRICS

_BOUNDS = {
  "exact density": "a ceiling: the density that simulated gaze was drawn from",
  "exact density, blurred": "a ceiling: the exact density, blurred like the ground truth",
  "human infinite": "a ceiling: half of the observers predicts the other half",
  "mean eye position": "a floor: the training split's mean density, for every frame",
}


def section(summary: Mapping[str, Any], name: str) -> str:
  """Makes the table of this evaluation, its bounds and published rows, and folded tables below it.

  The folded tables hold the papers' ablations, and rows for other frames of the data set.

  Args:
    summary: content of `scores.json`.
    name: name of the evaluated system in print.
  """
  metrics = summary["metrics"]
  dataset, _, _ = summary["dataset"].partition("/")
  split = f"{dataset}/{summary['split']}"
  printed = [row for row in published.rows(dataset) if not row.scores.keys().isdisjoint(metrics)]
  usual = [row for row in printed if row.split == split and not row.selection]
  same = published.best(row for row in usual if not row.ablation)

  scores = {metric: score["mean"] for metric, score in summary["scores"].items()}
  rows = [_row(name, "this evaluation", scores, metrics, "this")]
  if summary["bounds"]:
    rows.append(_group("Bounds, scored on the same frames", metrics))
  rows += [
    _row(bound, _BOUNDS.get(bound, ""), means, metrics)
    for bound, means in summary["bounds"].items()
  ]
  for part_name, title, part in _parts(summary):
    rows.append(_group(title, metrics))
    rows.append(_row(name, part.get("source", {}).get("path") or "", part["scores"], metrics))
    rows += [_row(bound, "", means, metrics) for bound, means in part["bounds"].items()]
    of_part = [row for row in printed if (row.split, row.selection) == (split, part_name)]
    rows += _rows(published.best(of_part), summary)
    usual += of_part
  if same:
    rows.append(_group(f"Published for {_split_name(split)}; by falling NSS", metrics))
  parts = [_note(summary, dataset, bool(printed)), _table(rows + _rows(same, summary), metrics)]

  ablations = [row for row in usual if row.ablation]
  if ablations:
    title = f"Ablations that the papers print for {_split_name(split)}"
    parts.append(_folded(title, _rows(ablations, summary), metrics))
  others = [row for row in printed if row not in usual and not row.ablation]
  for key in dict.fromkeys((row.split, row.selection) for row in others):
    chosen = published.best(row for row in others if (row.split, row.selection) == key)
    other, selection = key
    title = f"Not the same frames: published for {_split_name(other)}"
    title += f" ({escaped(selection)})" if selection else ""
    parts.append(_folded(title, _rows(chosen, summary), metrics))
  return "".join(parts)


def _parts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
  """Yields name, title and scores of each category of videos and of each cross-validation fold."""
  for name, part in summary.get("categories", {}).items():
    yield name, escaped(f"{name.capitalize()}: {part['videos']} of the videos"), part
  for name, part in summary.get("splits", {}).items():
    yield name, escaped(f"Split {name}"), part


def _note(summary: Mapping[str, Any], dataset: str, printed: bool) -> str:
  """Makes the paragraph that says what to consider in a comparison."""
  title = escaped(DATASETS.get(dataset, dataset))
  if not printed:
    return f"<p>The five papers print no scores for {title}.</p>"
  note = (
    "Published rows are the authors' numbers, with the digits that they print and after their own "
    "post-processing; they were not measured here."
  )
  usual, followed = published.protocol(dataset), summary["protocol"]["name"]
  if followed != usual:
    note += (
      f" The papers score {title} by the protocol <b>{usual}</b>, this evaluation follows "
      f"<b>{escaped(followed)}</b>: their shuffled AUCs cannot be compared."
    )
  return f"<p>{note}</p>"


def _split_name(split: str) -> str:
  """Returns the name of `dataset/split` in print, as markup."""
  dataset, _, part = split.partition("/")
  return escaped(f"{DATASETS.get(dataset, dataset)} {part}")


def _table(rows: Sequence[str], metrics: Sequence[str]) -> str:
  """Makes a table of rows, with a heading for each metric."""
  heads = "".join(
    f'<th scope="col">{METRICS[key].title}&nbsp;{arrow(METRICS[key])}</th>' for key in metrics
  )
  return (
    '<div class="scroll" tabindex="0"><table><thead><tr><th class="name" scope="col">Source</th>'
    f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
  )


def _folded(title: str, rows: Sequence[str], metrics: Sequence[str]) -> str:
  """Makes a table that opens at a click on its title."""
  return f"<details><summary>{title}</summary>{_table(rows, metrics)}</details>"


def _group(title: str, metrics: Sequence[str]) -> str:
  """Makes a row that is the heading of the rows below it."""
  return f'<tr><th scope="rowgroup" colspan="{len(metrics) + 1}">{title}</th></tr>'


def _rows(printed: Iterable[published.Row], summary: Mapping[str, Any]) -> list[str]:
  """Makes published rows, and highlights those of the evaluated network."""
  source = summary["source"]
  network = source["name"] if source["kind"] == "model" else ""
  return [
    _row(
      row.model,
      row.source,
      row.scores,
      summary["metrics"],
      "same" if row.is_of(network) and not row.ablation else "",
    )
    for row in printed
  ]


def _row(
  name: str,
  about: str,
  scores: Mapping[str, Decimal | float | None],
  metrics: Sequence[str],
  kind: str = "",
) -> str:
  """Makes a row of the table; measured scores are rounded, printed ones keep their digits."""
  cells = "".join(
    f"<td>{score if isinstance(score, Decimal) else rounded(score)}</td>"
    for score in map(scores.get, metrics)
  )
  about = f"<small>{escaped(about)}</small>"
  return f'<tr class="{kind}"><th scope="row">{escaped(name)}{about}</th>{cells}</tr>'
