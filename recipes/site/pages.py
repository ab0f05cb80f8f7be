"""What the site has beside docs/: README, changelog and citation, whose links lead into docs/ or out of it."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CITATION.cff": "CITATION.cff"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, page in _PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(_ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of a checkout into links between pages."""

    def renamed(link: re.Match) -> str:
        target = re.sub(r"^(\.\./|docs/)", "", link[1])
        file, mark, heading = target.partition("#")
        return f"]({_PAGES.get(file, file)}{mark}{heading})"

    return re.sub(r"\]\((?![a-z]+:)([^)\s]+)\)", renamed, markdown)
