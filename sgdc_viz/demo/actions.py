"""What visitors do, without Gradio: each function takes what a page shows and gives what it is to show.

A ValueError (or FileNotFoundError) is one sentence for the visitor; the page then stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl

from sgdc_viz.data import load_image
from sgdc_viz.data.images import exif_orientation, has_more_pages, read_truth
from sgdc_viz.explore import Pair
from sgdc_viz.explore.networks import MOST_BYTES
from sgdc_viz.views.overview import check_pixel

from . import gallery
from .gallery import Choices, Upload
from .view import LINK, MOST_DABS, PLACES, TABS, View, read_link

AUTOMATIC = -1  # the channel with the largest value, the same one for all networks
LONGEST_LINK = 4000  # letters


@dataclass(frozen=True)
class Visit:
    """What one visitor's page shows and holds.

    Attributes:
        view: what it shows.
        drawn: name of a part -> what it depended on when the page got it.
        images, networks: what this visitor brought, (text, key) of each, newest last.
        said: sentences for the note above the tabs.
    """

    view: View
    drawn: Mapping[str, tuple] = field(default_factory=dict)
    images: Choices = ()
    networks: Choices = ()
    said: tuple[str, ...] = ()

    def see(self, **changes) -> Visit:
        """The same visitor, looking at something else."""
        return replace(self, view=replace(self.view, **changes), said=())


def arrive(query: Mapping[str, str]) -> Visit:
    """The page that an address asks for, as near as there is one; it says what there is not."""
    told, said = read_link(query)
    said = list(said)

    def choose(name: str, choices: list[str], what: str, usual: str) -> str:
        wanted = str(told.pop(name, usual))
        if wanted in choices:
            return wanted
        if name == "image":  # a place in that one means nothing here
            for place in ("y", "x", "dabs"):
                told.pop(place, None)
        if wanted.startswith((gallery.UPLOAD, gallery.OWN)):
            said.append(f"The address is of {what} that somebody uploaded; uploads are not kept.")
        else:
            said.append(f"There is no {what.split()[-1]} {wanted[:40]!r} here.")
        return usual

    image = choose("image", [key for _, key in gallery.images()], "an image", gallery.FIRST)
    families = [family for _, family in gallery.offers(image)]
    family = choose("family", families, "a network", families[0])
    offered = [name for _, name in gallery.comparisons(family)]
    versus = choose("versus", offered, "a comparison", offered[0])
    pair = gallery.look(image, family, versus)
    (y, x), _ = gallery.first_pixel(pair, gallery.chosen(image))
    view = View(image, family, versus, **{"y": y, "x": x, **told})
    try:
        check_pixel(view.pixel, pair.image)
    except ValueError as error:
        said.append(f"The address has a pixel that is not there: {error}")
        view = replace(view, y=y, x=x)
    height, width = pair.image.shape[:2]
    if any(y >= height or x >= width for y, x, _ in view.dabs):
        said.append("The address has a painted region that lies outside the image: paint it again.")
        view = replace(view, dabs=())
    try:
        check_channel(pair, view.channel)
    except ValueError as error:
        said.append(f"The address has a channel that is not there: {error}")
        view = replace(view, channel=None)
    return Visit(view, said=tuple(said))


def open_link(visit: Visit, link: str) -> Visit:
    """link: the part of an address behind its "?"; one that has nothing of ours leaves the page as it is."""
    query = dict(parse_qsl(link.lstrip("?")[:LONGEST_LINK]))
    if not query.keys() & LINK.keys():
        return visit
    arrived = arrive(query)
    return replace(visit, view=arrived.view, said=arrived.said)


def channels_of(pair: Pair) -> int:
    return len(pair.first.at((0, 0)).gate_dynamic)


def check_channel(pair: Pair, channel: int | None) -> None:
    if channel is not None and not 0 <= channel < channels_of(pair):
        raise ValueError(f"channel={channel} is none of the {channels_of(pair)} channels, which are counted from 0.")


def whole_number(name: str, value: float) -> int:
    if value != int(value):
        raise ValueError(f"{name}={value} must be a whole number.")
    return int(value)


# --- above the tabs --------------------------------------------------------------------------------------------------


def choose_sample(visit: Visit, image: str) -> Visit:
    """Another image, with the networks meant for it, where there are any; chosen again, the page stays as it is."""
    view = visit.view
    if image == view.image:
        return visit
    offered = [family for _, family in gallery.offers(image, visit.networks)]
    sample = gallery.chosen(image)
    family = view.family if view.family in offered else offered[0]
    if sample is not None and sample.family in offered:
        family = sample.family
    versus = _still_offered(view.versus, family)
    pair = gallery.look(image, family, versus)
    (y, x), _ = gallery.first_pixel(pair, sample)
    return visit.see(image=image, family=family, versus=versus, y=y, x=x, zoom=None, dabs=(), centre=None,
                     channel=_still_there(view, pair), segmented=False)  # fmt: skip


def choose_networks(visit: Visit, family: str, versus: str) -> Visit:
    """Other networks, or another comparison; the selected place stays, also where they see another size."""
    view = visit.view
    versus = _still_offered(versus, family)
    if (family, versus) == (view.family, view.versus):
        return visit
    pair, seen = gallery.look(view.image, family, versus, view.centre), gallery.see(view)
    y, x = pair.place.from_other(view.pixel, seen.place)
    dabs = view.dabs if pair.image.shape == seen.image.shape else ()
    segmented = view.segmented and family == view.family
    new = visit.see(
        family=family, versus=versus, y=y, x=x, dabs=dabs, channel=_still_there(view, pair), segmented=segmented
    )
    if view.dabs and not dabs:
        new = replace(new, said=("The painted region is gone: these networks see the image at another size.",))
    return new


def _still_offered(versus: str, family: str) -> str:
    """The comparison if these networks have it, else their first."""
    offered = [name for _, name in gallery.comparisons(family)]
    return versus if versus in offered else offered[0]


def _still_there(view: View, pair: Pair) -> int | None:
    """The channel if these networks have it, else the one with the largest value."""
    return view.channel if view.channel is not None and view.channel < channels_of(pair) else None


def inspect_pixel(visit: Visit, y: float | None, x: float | None) -> Visit:
    """Another pixel; the recordings are there already, so no network runs."""
    if y is None or x is None:
        raise ValueError("give a row y and a column x, in image pixels.")
    return visit.see(y=whole_number("row y", y), x=whole_number("column x", x))


def open_tab(visit: Visit, tab: str) -> Visit:
    if tab not in TABS:
        raise ValueError(f"there is no tab {tab!r}: use one of {', '.join(TABS)}.")
    return replace(visit, view=replace(visit.view, tab=tab))  # what was said of an address stays


# --- in the tabs -----------------------------------------------------------------------------------------------------


def follow_channel(visit: Visit, channel: float | None) -> Visit:
    """AUTOMATIC (or nothing) means: the channel with the largest value."""
    wanted = None if channel is None or channel == AUTOMATIC else whole_number("channel", channel)
    check_channel(gallery.see(visit.view), wanted)
    return visit.see(channel=wanted)


def set_pool_size(visit: Visit, pool_size: int) -> Visit:
    """pool_size: p in feature pixels; 0 is the whole image."""
    return visit.see(pool_size=pool_size or None)


def set_boundary(visit: Visit, tolerance: float, controls: bool) -> Visit:
    return visit.see(tolerance=float(tolerance), controls=bool(controls))


def set_change(visit: Visit, change: str, place: str) -> Visit:
    return visit.see(change=change, place=place)


def paint(visit: Visit, dabs: str, radius: float) -> Visit:
    """Add to the painted region. dabs: "row,column row,column ...", in image pixels; radius: of the brush, likewise."""
    try:
        points = [tuple(int(n) for n in dab.split(",")) for dab in dabs.split()]
        if any(len(point) != 2 for point in points):
            raise ValueError
    except ValueError:
        raise ValueError('the region must be "row,column row,column ...", whole numbers of image pixels.') from None
    image = gallery.see(visit.view).image
    for point in points:
        check_pixel(point, image)
    added = tuple((y, x, int(radius)) for y, x in points)
    return visit.see(dabs=(*visit.view.dabs, *added)[-MOST_DABS:], place=PLACES[2])


def paint_here(visit: Visit, radius: float) -> Visit:
    return paint(visit, f"{visit.view.y},{visit.view.x}", radius)


def clear_region(visit: Visit) -> Visit:
    return visit.see(dabs=())


# --- what people bring -----------------------------------------------------------------------------------------------


def take(file: str | None, what: str, most: int) -> tuple[bytes, str]:
    """(bytes, name) of a file that arrived; it is deleted: images of patients must not stay on disk.

    Args:
        file: its path, None if none arrived.
        what: is expected, in words.
        most: bytes that are read.
    """
    if file is None:
        raise ValueError(f"no file arrived: choose {what}.")
    path = Path(file)
    try:
        if path.stat().st_size > most:  # before it is read
            raise ValueError(f"the file has {path.stat().st_size / 2**20:.0f} MB; at most {most // 2**20} MB are read.")
        return path.read_bytes(), path.name
    finally:
        path.unlink(missing_ok=True)


def upload_image(visit: Visit, file: str | None) -> Visit:
    data, name = take(file, "a PNG, JPEG, TIFF or BMP image", gallery.MAX_UPLOAD)
    key = gallery.keep(Upload(load_image(data, name=name), None, exif_orientation(data)))
    new = _with_image(visit, key, f"Your image: {_short(name)}")
    return replace(new, said=("The file has several pages; this is the first.",) * has_more_pages(data))


def upload_truth(visit: Visit, file: str | None) -> Visit:
    """The mask that belongs to the image that is looked at, if that one was brought."""
    data, name = take(file, "a mask: PNG, TIFF or BMP", gallery.MAX_UPLOAD)
    view = visit.view
    if not view.image.startswith(gallery.UPLOAD):
        raise ValueError("upload your image first: a mask is compared with what the networks find in your image.")
    image, _, orientation = gallery.kept(view.image)
    truth, said = read_truth(data, name, image.shape[:2], orientation)
    key = gallery.keep(Upload(image, truth, orientation))
    text = next((text for text, old in visit.images if old == view.image), "Your image")
    moved = _with_image(visit, key, f"{text.removesuffix(' + mask')} + mask")
    kept = dict(family=view.family, versus=view.versus, y=view.y, x=view.x, centre=view.centre, tab=view.tab,
                segmented=view.segmented)  # fmt: skip
    return replace(moved.see(**kept), said=(said,))


def upload_network(visit: Visit, file: str | None) -> Visit:
    """A network of one's own; with one brought before that fits it, the two are compared."""
    data, name = take(file, "a .safetensors file written by sgdc_viz", MOST_BYTES)
    explorer, before = gallery.explorer, visit.view.family
    family = explorer.add_network(data, name)
    if before.startswith(gallery.OWN):
        try:
            family = explorer.add_network(data, name, partner=before)
        except ValueError:  # no pair: the new one alone
            pass
    arms = list(explorer.arms_of(family))
    text = f"Your networks: {' and '.join(arms)} ({_short(name)})"
    networks = (*(n for n in visit.networks if n[1] != family), (text, family))[-gallery.LISTED :]
    versus = arms[1] if len(arms) > 1 else visit.view.versus  # a pair is brought to be compared
    return choose_networks(replace(visit, networks=networks), family, versus)


def _with_image(visit: Visit, key: str, text: str) -> Visit:
    images = (*(m for m in visit.images if m[1] != key), (text, key))[-gallery.LISTED :]
    return choose_sample(replace(visit, images=images), key)


def _short(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:40]


def move_part(visit: Visit, y: float | None, x: float | None) -> Visit:
    """Look at another part of a large image. y, x: pixel of the given image, which is selected then."""
    if y is None or x is None:
        raise ValueError("give a row y and a column x, in pixels of the whole image.")
    centre = whole_number("row y", y), whole_number("column x", x)
    view = visit.view
    pair = gallery.look(view.image, view.family, view.versus, centre)
    y, x = pair.place.from_given(centre)
    return visit.see(centre=centre if pair.place.part else None, y=y, x=x, dabs=())


def show_whole(visit: Visit) -> Visit:
    """Show what was found in the whole image, if it was segmented."""
    view = visit.view
    image, _ = gallery.image_of(view.image)
    return visit.see(segmented=gallery.explorer.has_whole(view.family, image), tab="yours")
