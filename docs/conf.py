"""The site: Sphinx with MyST, built strictly by ``make docs`` and by tests/test_docs.py."""

import sys
from pathlib import Path

import muqrt

sys.path.insert(0, str(Path(__file__).parent))

project = "muqrt"
version = release = muqrt.__version__
copyright = "the muqrt authors, Apache-2.0"  # the name that Sphinx reads

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
    "extension",
]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Reference pages name types that have no page of their own, such as NumPy's arrays.
nitpicky = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
# Without a user's own directories in signatures.
autodoc_default_options = {"members": True, "show-inheritance": False}
maximum_signature_line_length = 90

graphviz_output_format = "svg"

html_theme = "furo"
html_title = f"muqrt {version}"
html_show_sphinx = False
# Pages are read where there is no network, too: nothing is fetched from elsewhere.
html_theme_options = {"navigation_with_keys": True}
html_static_path: list[str] = []
