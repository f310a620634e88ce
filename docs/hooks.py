"""Adds pages that are elsewhere in the repository to those that MkDocs builds.

Links in these files, and links to them from `docs/`, are written for the repository, where they
work in an editor and on a forge. Here they are rewritten for the site, whose root is `docs/`.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/EXPERIMENTS.md", "benchmarks/RESULTS.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pages that are outside docs/."""
  root = Path(config.config_file_path).parent
  for page in _PAGES:
    files.append(File.generated(config, page, abs_src_path=str(root / page)))
  return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Turns links of the repository into links of the site."""
  if page.file.src_uri in _PAGES:
    return markdown.replace("](docs/", "](").replace("](../docs/", "](../")
  for other in _PAGES:
    markdown = markdown.replace(f"](../{other}", f"]({other}")
  return markdown
