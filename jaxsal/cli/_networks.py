"""The facts that `jaxsal models` prints, stored because counting them takes minutes.

  python -m jaxsal.cli._networks      counts them again and writes jaxsal/cli/networks.json

JAX is imported only to count.
"""

import json
import pathlib
from typing import NamedTuple

from jaxsal.console import say, track

STORED = pathlib.Path(__file__).with_name("networks.json")
_MODELS = pathlib.Path(__file__).parents[1] / "models"


class Row(NamedTuple):
  """The facts about one variant of a network.

  Attributes:
    model: name of the network.
    module: Python module of the network.
    variant: name of the variant.
    parameters: number of parameters.
    operations: number of floating-point operations for one map; 0 if the network makes no map.
    length: T, the number of frames in a clip; None if the network makes no map.
    size: height and width of the frames; None if the network makes no map.
    target: frame of the clip that the map belongs to; None if the network makes no map.
    published: scores on DHF1K's test set from the network's own paper; empty if there are none.
  """

  model: str
  module: str
  variant: str
  parameters: int
  operations: float
  length: int | None
  size: tuple[int, int] | None
  target: str | None
  published: str


def rows() -> list[Row]:
  """Returns the row of every variant; networks whose file has no stored row are counted."""
  stored = [Row(**fields) for fields in json.loads(STORED.read_text("utf-8"))]
  modules = {f"jaxsal.models.{path.stem}" for path in _MODELS.glob("[!_]*.py")}
  if new := modules - {row.module for row in stored}:
    say("importing JAX to count the cost of new networks")
    stored += count_all(new)
  return sorted(stored, key=lambda row: row.model)


def count_all(modules: set[str] | None = None) -> list[Row]:
  """Counts the variants of all networks, or of the networks in these Python modules."""
  from jaxsal.models import MODELS

  pairs = [
    (name, variant)
    for name, network in MODELS.items()
    for variant in network.variants
    if modules is None or network.network.__module__ in modules
  ]
  return [count(*pair) for pair in track(pairs, "counting", len(pairs), "variant")]


def count(name: str, variant: str) -> Row:
  """Returns the row of a variant of a network; the network computes nothing."""
  from jaxsal.models import MODELS, SaliencyConfig, configure, cost

  config = configure(name, variant)
  parameters, operations = cost(name, config)
  clip = config if isinstance(config, SaliencyConfig) else None
  return Row(
    model=name,
    module=MODELS[name].network.__module__,
    variant=variant,
    parameters=parameters,
    operations=operations,
    length=clip.length if clip else None,
    size=clip.size if clip else None,
    target=clip.target if clip else None,
    published=headline(name) if variant == "base" else "",
  )


def headline(name: str) -> str:
  """Returns the scores on DHF1K's test set that a network's own paper prints."""
  from jaxsal.evaluation import published
  from jaxsal.metrics import METRICS

  row = published.headline(name)
  if row is None:
    return ""
  order = ("nss", "cc", "sim", "auc_judd", "auc_shuffled")
  return "  ".join(f"{METRICS[m].title} {row.scores[m]}" for m in order if m in row.scores)


if __name__ == "__main__":
  lines = ",\n".join(json.dumps(row._asdict()) for row in count_all())
  STORED.write_text(f"[\n{lines}\n]\n", "utf-8")
  say(f"written: {STORED}")
