"""Builds data sets for `jaxsal prepare`, and counts what complete ones hold."""

import importlib
import pathlib
import pkgutil
from typing import Any

import tensorflow_datasets as tfds

from jaxsal import tfds_builders
from jaxsal.console import console, say
from jaxsal.data.sources import parse_name
from jaxsal.errors import UserError
from jaxsal.tfds_builders import shards
from jaxsal.tfds_builders.video_builder import Register, instructions, shortened

# The number of lines that say what was left out of a set that was built from an incomplete folder.
_SKIPPED_SHOWN = 5


def prepare(
  dataset: str,
  data_dir: str | pathlib.Path,
  source: str | pathlib.Path | None = None,
  *,
  skip_bad: bool = False,
  flow_from: str | pathlib.Path | None = None,
  jobs: int = 1,
) -> pathlib.Path:
  """Builds a data set of this project unless it exists.

  The set is written next to its place and renamed when it is complete, so an interrupted build
  leaves nothing that `jaxsal.open_split` would open. An interrupted build of a downloaded set
  continues when it is started again.

  Args:
    dataset: `name` or `name/config`.
    data_dir: directory of prepared data sets.
    source: folder that the user downloaded or made; None for the demo sets, which need none.
    skip_bad: whether missing and damaged videos are left out and listed, instead of ending the
      build.
    flow_from: model folder of the PWC-Net that computes the optical flow for a configuration with
      flow; None for DIS.
    jobs: number of processes; more than one needs Apache Beam.

  Returns:
    The data set's directory.

  Raises:
    UserError: the data set or the configuration is unknown, or the folder is missing, incomplete or
      damaged.
  """
  name, config = parse_name(dataset)
  builder_class = _builder_class(name)
  if config and config not in builder_class.builder_configs:
    configs = ", ".join(f"{name}/{config}" for config in builder_class.builder_configs)
    raise UserError(f"Data set {dataset!r} has no such configuration: use one of {configs}.")
  downloaded = not is_simulated(name)
  options = {"skip_bad": skip_bad, "flow_from": flow_from} if downloaded else {}
  data_dir = pathlib.Path(data_dir).expanduser()
  builder = builder_class(data_dir=data_dir, config=config, **options)
  directory = pathlib.Path(builder.data_path)
  if flow_from:
    _check_flow(builder, directory, flow_from)
  if directory.exists():
    _say_built(builder, directory)
    return directory
  if downloaded:
    source = _check_source(builder_class, name, source)
  say(f"preparing {builder.info.full_name} in {directory}")
  if not console.is_terminal:
    tfds.disable_progress_bar()
  shards.silence(builder)  # The line above replaces TFDS's own messages.
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(
      manual_dir=source, beam_options=_beam_options(jobs) if jobs > 1 else None
    ),
  )
  return directory


def is_simulated(dataset: str) -> bool:
  """Returns whether `prepare` makes a data set of this project without a folder."""
  name, _ = parse_name(dataset)
  return name in known_datasets() and not _builder_class(name).MANUAL_DOWNLOAD_INSTRUCTIONS


def known_datasets() -> list[str]:
  """Returns the names of the data sets that this project has builders for."""
  modules = pkgutil.iter_modules(tfds_builders.__path__)
  return sorted(module.name for module in modules if module.ispkg)


def count_videos(dataset: str, split: str = "train") -> int:
  """Returns the number of videos of a split or list in a complete download.

  A video of Hollywood-2 is a shot, and one of SALICON is an image.

  Args:
    dataset: `name` or `name/config` of a data set that is downloaded, as in `dhf1k`.
    split: name of a split or list, as in `train` or `train_1`.

  Raises:
    UserError: the data set or the size of the split is not known.
  """
  return _register(dataset, split).videos


def count_frames(dataset: str, split: str = "train") -> int:
  """Returns the number of frames of a split or list in a complete download.

  Args:
    dataset: `name` or `name/config` of a data set that is downloaded, as in `dhf1k`.
    split: name of a split or list, as in `train` or `train_1`.

  Raises:
    UserError: the data set or the size of the split is not known.
  """
  frames = _register(dataset, split).frames
  if frames is None:
    raise UserError(f"The number of frames in split {split!r} of {dataset} is not known.")
  return frames


def _register(dataset: str, split: str) -> Register:
  name, _ = parse_name(dataset)
  builder_class = _builder_class(name)
  registers = getattr(builder_class, "REGISTER", {}) | getattr(builder_class, "LISTS", {})
  if split not in registers:
    raise UserError(
      f"The size of split {split!r} of {name} is not known; known splits:"
      f" {', '.join(registers) or 'none'}."
    )
  return registers[split]


def _builder_class(name: str) -> type[tfds.core.DatasetBuilder]:
  if name not in known_datasets():
    raise UserError(
      f"Data set {name!r} is unknown: the sets that can be prepared are"
      f" {', '.join(known_datasets())}."
    )
  return importlib.import_module(f"jaxsal.tfds_builders.{name}.{name}_dataset_builder").Builder


def _check_flow(
  builder: tfds.core.DatasetBuilder, directory: pathlib.Path, flow_from: str | pathlib.Path
) -> None:
  """Raises UserError unless the set holds, or will hold, flow by this PWC-Net."""
  method = (builder.info.metadata or {}).get("flow")
  if method is None:
    raise UserError(
      f"{builder.info.full_name} holds no optical flow: leave out --flow-from, or prepare a"
      " configuration that holds it, such as dhf1k/480x640."
    )
  from jaxsal.models import flow_estimator  # imports JAX, which other builds do not need

  if directory.exists() and method != flow_estimator(flow_from).method:
    raise UserError(
      f"The set in {directory} holds flow by {method}, not by the network in {flow_from}: delete"
      " that directory to build the set again."
    )


def _say_built(builder: tfds.core.DatasetBuilder, directory: pathlib.Path) -> None:
  """Prints that a set was built before, and what was left out of it."""
  lines = [f"{builder.info.full_name} was built before, in {directory}"]
  skipped = (builder.info.metadata or {}).get("skipped", [])
  if skipped:
    lines += [
      "with --skip-bad, because parts were missing or damaged:",
      *(f"  {text}" for text in shortened(skipped, _SKIPPED_SHOWN)),
      "To build it again, delete that directory and run the command again.",
    ]
  say("\n".join(lines))


def _check_source(
  builder_class: type[tfds.core.DatasetBuilder], name: str, source: str | pathlib.Path | None
) -> pathlib.Path:
  how = instructions(builder_class)
  if source is None:
    raise UserError(
      f"{name} is built from a folder of yours. {how} Then run `jaxsal prepare {name}"
      " --from=FOLDER`."
    )
  source = pathlib.Path(source).expanduser().absolute()
  if not source.is_dir():
    raise UserError(f"{source} is not a folder. {how}")
  return source


def _beam_options(jobs: int) -> Any:
  try:
    from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
      PipelineOptions,  # of an extra that need not be installed
    )
  except ImportError as error:
    raise UserError(
      f"{jobs} jobs need Apache Beam: install it with `pip install 'jaxsal[beam]'`, or leave out"
      " --jobs."
    ) from error
  return PipelineOptions(
    [],
    direct_num_workers=jobs,
    direct_running_mode="multi_processing",
    default_sdk_harness_log_level="ERROR",
  )
