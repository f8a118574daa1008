"""How Sphinx builds the documentation: ``python -m sphinx -W docs docs/_build``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test_files")]

from datarun import __version__  # noqa: E402 - found by the path above

project = "datarun"
author = "the datarun maintainers"
copyright = f"2026, {author}. BSD-3-Clause"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # single backticks in docstrings
nitpicky = True
# What autodoc shows of types comes from libraries whose own documentation isn't linked.
nitpick_ignore_regex = [("py:.*", r"(collections|enum|numpy|np|npt|os|requests|pathlib|typing|datarun)\b.*")]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"datarun {release}"
html_copy_source = False
