"""The demo as one file: a page that needs no Python and no server, for a course's web site.

python -m sgdc_viz export DIR         (or: from sgdc_viz.export import export_page)

pictures.py says what is shown, stored.py what a page must hold so that its script can make every kernel anew,
outline.py the lines across outlines, page.py puts it together from page.html, page.css and the scripts *.js.
"""

from .page import PAGE_FILE, build_page, export_page
from .pictures import PICTURES, Shown, load_pictures

__all__ = ["PAGE_FILE", "PICTURES", "Shown", "build_page", "export_page", "load_pictures"]
