"""Builds data sets: what `jaxsal prepare` does."""

import importlib
import pathlib
import pkgutil
from typing import Any

import tensorflow_datasets as tfds

from jaxsal import tfds_builders
from jaxsal.console import console
from jaxsal.data.sources import parse_name
from jaxsal.errors import UserError
from jaxsal.tfds_builders.video_builder import Register

# So many lines say what is not in a set that was built from an incomplete download.
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
  """Builds a data set of this project, or finds it built.

  It is written beside its place and renamed when it is whole, so that an interrupted build leaves
  nothing that `jaxsal.open_split` would open. Called again, a build of a downloaded set continues.

  Args:
    dataset: `name` or `name/config`.
    data_dir: directory that holds, or will hold, prepared data sets.
    source: the folder that the user downloaded; the demo sets need none.
    skip_bad: leave out videos that are missing or damaged, and list them, instead of stopping.
    flow_from: model folder of the PWC-Net that computes the optical flow of a configuration that
      holds it; None: DIS does.
    jobs: processes that work on it; more than one needs Apache Beam.

  Returns:
    The data set's directory.

  Raises:
    UserError: there is no builder, or no configuration, of that name; the download is missing,
      incomplete or damaged.
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
  console.print(f"preparing {builder.info.full_name} in {directory}", soft_wrap=True)
  if not console.is_terminal:
    tfds.disable_progress_bar()
  # The line above says it.
  builder._log_download_bytes = builder._log_download_done = lambda: None
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(
      manual_dir=source, beam_options=_beam_options(jobs) if jobs > 1 else None
    ),
  )
  return directory


def _check_flow(
  builder: tfds.core.DatasetBuilder, directory: pathlib.Path, flow_from: str | pathlib.Path
) -> None:
  """Raises UserError unless the set holds, or will hold, flow by this PWC-Net."""
  if "flow" not in builder.info.features:
    raise UserError(
      f"{builder.info.full_name} holds no optical flow: leave out --flow-from, or prepare a"
      " configuration that holds it, such as dhf1k/480x640."
    )
  from jaxsal.models import flow_estimator  # imports JAX, which other builds do not need

  method = builder.info.metadata["flow"]
  if directory.exists() and method != flow_estimator(flow_from).method:
    raise UserError(
      f"The set in {directory} holds flow by {method}, not by the network in {flow_from}: delete"
      " that directory to build it anew."
    )


def _say_built(builder: tfds.core.DatasetBuilder, directory: pathlib.Path) -> None:
  """Prints that a set was built before, and what is not in it."""
  lines = [f"{builder.info.full_name} was built before, in {directory}"]
  skipped = (builder.info.metadata or {}).get("skipped", [])
  if skipped:
    rest = len(skipped) - _SKIPPED_SHOWN
    lines += ["with --skip-bad, as some of it was missing or damaged:"]
    lines += [f"  {text}" for text in skipped[:_SKIPPED_SHOWN]]
    lines += [f"  and {rest} more"] if rest > 0 else []
    lines += ["To build it anew, delete that directory, and run the command again."]
  console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def is_simulated(dataset: str) -> bool:
  """Whether `prepare` makes a data set of this project without anything to download."""
  name, _ = parse_name(dataset)
  return name in known_datasets() and not _builder_class(name).MANUAL_DOWNLOAD_INSTRUCTIONS


def _check_source(
  builder_class: type[tfds.core.DatasetBuilder], name: str, source: str | pathlib.Path | None
) -> pathlib.Path:
  how = " ".join(builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
  if source is None:
    raise UserError(
      f"{name} has to be downloaded by you: {how} Then: jaxsal prepare {name} --from=FOLDER"
    )
  source = pathlib.Path(source).expanduser().absolute()
  if not source.is_dir():
    raise UserError(f"{source} is not a folder. {how}")
  return source


def _beam_options(jobs: int) -> Any:
  try:
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise UserError(
      f"{jobs} jobs need Apache Beam: pip install 'jaxsal[beam]', or leave out --jobs"
    ) from error
  return PipelineOptions(
    [],
    direct_num_workers=jobs,
    direct_running_mode="multi_processing",
    default_sdk_harness_log_level="ERROR",
  )


def known_datasets() -> list[str]:
  """Names of the data sets that this project has builders for."""
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

  The arguments and errors are those of `count_videos`.
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
