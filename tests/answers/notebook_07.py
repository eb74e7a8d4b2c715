"""Answers to the exercises of notebook 07: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math
import random

import numpy as np
import torch

from answers import Exercise

# --- exercise 1: shuffle_places(value [B, ..., H, W], site) ----------------------------------------------------------


def _order(n, seed=0):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def by_reshape(value, site):
    *front, h, w = value.shape
    return value.reshape(*front, h * w).index_select(-1, _order(h * w, 3)).reshape(value.shape)


def by_numpy(value, site):
    order = np.random.default_rng(7).permutation(value.shape[-2] * value.shape[-1])
    return torch.from_numpy(value.flatten(-2).numpy()[..., order]).view(value.shape)


def own_order_for_each_image(value, site):
    """Allowed: an image keeps its own pixels and each vector stays together."""
    flat = value.flatten(-2)
    return torch.stack([image[..., _order(flat.shape[-1], b)] for b, image in enumerate(flat)]).view(value.shape)


def by_rows_and_columns_of_pixels(value, site):
    order = list(range(value.shape[-2] * value.shape[-1]))
    random.Random(2).shuffle(order)
    index = torch.tensor(order).view(value.shape[-2:])
    return value[..., index // value.shape[-1], index % value.shape[-1]]


def order_for_each_channel(value, site):
    flat = value.flatten(0, -3).flatten(-2)
    return torch.stack([c[_order(len(c), i)] for i, c in enumerate(flat)]).view(value.shape)


def argsort_of_noise(value, site):
    flat = value.flatten(-2)
    order = torch.rand(flat.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)
    return flat.gather(-1, order).view(value.shape)


def sorted_values(value, site):
    return value.flatten(-2).sort(-1).values.view(value.shape)


def channels_shuffled(value, site):
    return value[:, _order(value.shape[1]).flip(0).roll(1)]


def pixels_and_channels(value, site):
    flat = value.flatten(1)
    return flat[:, _order(flat.shape[1])].view(value.shape)


def over_the_batch(value, site):
    return value.flatten()[_order(value.numel())].view(value.shape)


def batch_rolled(value, site):
    return by_reshape(value, site).roll(1, 0)


def in_place(value, site):
    value.copy_(by_reshape(value, site))
    return value


def still_flat(value, site):
    return value.flatten(-2)[..., _order(value.shape[-2] * value.shape[-1])]


def width_before_height(value, site):
    *front, h, w = value.shape
    return value.flatten(-2)[..., _order(h * w)].view(*front, w, h)


def rows_only(value, site):
    return value[..., _order(value.shape[-2], 1), :]


def columns_only(value, site):
    return value[..., _order(value.shape[-1], 1)]


def rows_and_columns(value, site):
    return value[..., _order(value.shape[-2], 1), :][..., _order(value.shape[-1], 2)]


def within_rows(value, site):
    w = value.shape[-1]
    rows = [value[..., i, :][..., _order(w, i)] for i in range(value.shape[-2])]
    return torch.stack(rows, -2)


def with_repetition(value, site):
    n = value.shape[-2] * value.shape[-1]
    return value.flatten(-2)[..., torch.randint(n, (n,), generator=torch.Generator().manual_seed(0))].view(value.shape)


def new_each_time(value, site):
    return value.flatten(-2)[..., torch.randperm(value.shape[-2] * value.shape[-1])].view(value.shape)


def global_seed(value, site):
    torch.manual_seed(0)
    return value.flatten(-2)[..., torch.randperm(value.shape[-2] * value.shape[-1])].view(value.shape)


def numpy_global_seed(value, site):
    np.random.seed(0)  # noqa: NPY002 - the mistake
    order = np.random.permutation(value.shape[-2] * value.shape[-1])  # noqa: NPY002
    return value.flatten(-2)[..., torch.from_numpy(order)].view(value.shape)


def the_library_s_size(value, site):
    return value.flatten(-2)[..., _order(64 * 64)].view(value.shape)


def only_guidance(value, site):
    b, c, h, w = value.shape
    return value.view(b, c, h * w)[:, :, _order(h * w)].view(b, c, h, w)


def by_lens(value, site):
    from sgdc_viz.lens import shuffle

    return shuffle()(value, site)


def by_lens_module(value, site):
    import sgdc_viz.lens as tools

    return tools.shuffle(3)(value, site)


def height_and_width_exchanged(value, site):
    """Read column by column: the same for every image, and no chance in it."""
    return value.transpose(-1, -2).reshape(value.shape)


def written_column_by_column(value, site):
    *front, h, w = value.shape
    return value.reshape(*front, w, h).transpose(-1, -2)


def every_fifth(value, site):
    n = value.shape[-2] * value.shape[-1]
    step = next(k for k in (29, 31, 37) if math.gcd(k, n) == 1)
    return value.flatten(-2)[..., torch.arange(n) * step % n].view(value.shape)


def half_of_it(value, site):
    n = value.shape[-2] * value.shape[-1]
    order = torch.arange(n)
    order[: n // 3] = order[: n // 3][_order(n // 3)]
    return value.flatten(-2)[..., order].view(value.shape)


# --- exercise 2: restored(clean [n], corrupt [n], patched [n]) -------------------------------------------------------


def with_where(clean, corrupt, patched):
    gap = clean - corrupt
    safe = np.where(gap == 0, 1.0, gap)
    together = np.mean(clean) - np.mean(corrupt)
    back = np.mean(patched) - np.mean(corrupt)
    return np.where(gap == 0, np.nan, (patched - corrupt) / safe), float("nan") if together == 0 else back / together


def with_a_loop(clean, corrupt, patched):
    each = [(p - b) / (a - b) if a != b else math.nan for a, b, p in zip(clean, corrupt, patched, strict=True)]
    gap = sum(clean) - sum(corrupt)
    return each, (sum(patched) - sum(corrupt)) / gap if gap else math.nan


def with_errstate(clean, corrupt, patched):
    gap = clean - corrupt
    with np.errstate(all="ignore"):
        each = (patched - corrupt) / gap
        together = (patched - corrupt).mean() / gap.mean()
    each[gap == 0] = np.nan
    return each, together if gap.mean() else np.nan


def shares(each=None, together=None):
    """The right answer with `each` or `together` in another way."""

    def answer(clean, corrupt, patched):
        right = with_where(clean, corrupt, patched)
        return (
            right[0] if each is None else each(clean, corrupt, patched),
            right[1] if together is None else together(clean, corrupt, patched),
        )

    return answer


def _each(function):
    """`function` where there is a gap, NaN elsewhere; so that only the mistake in question is made."""

    def answer(clean, corrupt, patched):
        out = np.full(len(clean), np.nan)
        there = clean != corrupt
        out[there] = function(clean[there], corrupt[there], patched[there])
        return out

    return answer


def plain_division(clean, corrupt, patched):
    return (patched - corrupt) / (clean - corrupt), (patched - corrupt).mean() / (clean - corrupt).mean()


def silenced_division(clean, corrupt, patched):
    with np.errstate(all="ignore"):
        return plain_division(clean, corrupt, patched)


def epsilon(clean, corrupt, patched):
    gap = clean - corrupt + 1e-8
    return (patched - corrupt) / gap, with_where(clean, corrupt, patched)[1]


def zero_for_nan(clean, corrupt, patched):
    with np.errstate(all="ignore"):
        each = np.nan_to_num((patched - corrupt) / (clean - corrupt), posinf=0, neginf=0)
    return each, with_where(clean, corrupt, patched)[1]


def only_where_all_agree(clean, corrupt, patched):
    """0/0 becomes NaN, x/0 stays infinite."""
    with np.errstate(all="ignore"):
        each = (patched - corrupt) / (clean - corrupt)
    return each, with_where(clean, corrupt, patched)[1]


def for_one_image(clean, corrupt, patched):
    if clean == corrupt:
        return math.nan, math.nan
    return (patched - corrupt) / (clean - corrupt), 0.5


def changes_its_input(clean, corrupt, patched):
    right = with_where(clean, corrupt, patched)
    patched -= corrupt
    return right


# --- exercise 3: control_region(region [H, W], stride, seed) ---------------------------------------------------------


def _touched(region, stride):
    h, w = region.shape[0] // stride, region.shape[1] // stride
    return region.reshape(h, stride, w, stride).any((1, 3))


def _pixels(boxes, stride):
    return np.kron(boxes, np.ones((stride, stride), int)).astype(bool)


def by_permutation(region, stride, seed):
    touched = _touched(region, stride)
    free = np.argwhere(~touched)
    if len(free) < touched.sum():
        raise ValueError("no room")
    chosen = np.zeros_like(touched)
    chosen[tuple(np.random.default_rng(seed).permutation(free)[: touched.sum()].T)] = True
    return _pixels(chosen, stride)


def one_pixel_of_each_box(region, stride, seed):
    """Valid: one pixel is enough to touch a box."""
    whole = by_permutation(region, stride, seed)
    corner = np.zeros_like(whole)
    corner[::stride, ::stride] = True
    return whole & corner


def with_scores(region, stride, seed):
    """The free boxes with the largest random numbers, by torch."""
    touched = torch.from_numpy(_touched(region, stride))
    numbers = torch.rand(touched.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(touched, -1)
    count = int(touched.sum())
    if count > int((~touched).sum()):
        raise ValueError(f"{count} boxes do not fit")
    chosen = torch.zeros(touched.numel(), dtype=torch.bool)
    chosen[numbers.flatten().topk(count).indices] = True
    return chosen.view(touched.shape).repeat_interleave(stride, 0).repeat_interleave(stride, 1).numpy()


def everything_else(region, stride, seed):
    return ~region


def all_free_boxes(region, stride, seed):
    return _pixels(~_touched(region, stride), stride)


def scattered_pixels(region, stride, seed):
    """As many image pixels, in boxes that the region does not touch."""
    free = np.flatnonzero(~_pixels(_touched(region, stride), stride))
    out = np.zeros(region.size, bool)
    out[np.random.default_rng(seed).choice(free, region.sum(), replace=False)] = True
    return out.reshape(region.shape)


def disjoint_pixels(region, stride, seed):
    free = np.flatnonzero(~region)
    out = np.zeros(region.size, bool)
    out[np.random.default_rng(seed).choice(free, region.sum(), replace=False)] = True
    return out.reshape(region.shape)


def count_from_pixels(region, stride, seed):
    touched = _touched(region, stride)
    count = int(region.sum()) // stride**2
    chosen = np.zeros(touched.size, bool)
    chosen[np.random.default_rng(seed).choice(np.flatnonzero(~touched), count, replace=False)] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def shifted(region, stride, seed):
    return np.roll(region, 2 * stride * (1 + seed), axis=1)


def any_boxes(region, stride, seed):
    touched = _touched(region, stride)
    chosen = np.zeros(touched.size, bool)
    chosen[np.random.default_rng(seed).choice(touched.size, touched.sum(), replace=False)] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def boxes_drawn_twice(region, stride, seed):
    touched = _touched(region, stride)
    chosen = np.zeros(touched.size, bool)
    chosen[np.random.default_rng(seed).choice(np.flatnonzero(~touched), touched.sum())] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def all_touched_means_full(region, stride, seed):
    """A box belongs to the region only if all of its pixels do."""
    h, w = region.shape[0] // stride, region.shape[1] // stride
    touched = region.reshape(h, stride, w, stride).all((1, 3))
    chosen = np.zeros(touched.size, bool)
    free = np.flatnonzero(~_touched(region, stride))
    chosen[np.random.default_rng(seed).choice(free, touched.sum(), replace=False)] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def first_boxes(region, stride, seed):
    touched = _touched(region, stride)
    free = np.flatnonzero(~touched)
    if len(free) < touched.sum():
        raise ValueError("no room")
    chosen = np.zeros(touched.size, bool)
    chosen[free[: touched.sum()]] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def _windowed(region, stride, seed, fixed_order):
    touched = _touched(region, stride)
    free = np.flatnonzero(~touched)
    if len(free) < touched.sum():
        raise ValueError("no room")
    if fixed_order:
        free = np.random.default_rng(0).permutation(free)
    chosen = np.zeros(touched.size, bool)
    chosen[free[(np.arange(touched.sum()) + seed) % len(free)]] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def moving_window(region, stride, seed):
    return _windowed(region, stride, seed, False)


def window_in_fixed_order(region, stride, seed):
    return _windowed(region, stride, seed, True)


def removed_afterwards(region, stride, seed):
    touched = _touched(region, stride)
    chosen = np.zeros(touched.size, bool)
    chosen[np.random.default_rng(seed).choice(touched.size, touched.sum(), replace=False)] = True
    return _pixels(chosen.reshape(touched.shape) & ~touched, stride)


def fixed_seed(region, stride, seed):
    return by_permutation(region, stride, 0)


_shared = np.random.default_rng(0)


def never_the_same(region, stride, seed):
    return by_permutation(region, stride, int(_shared.integers(10**6)))


def global_seed_3(region, stride, seed):
    np.random.seed(seed)  # noqa: NPY002 - the mistake
    return by_permutation(region, stride, int(np.random.randint(10**6)))  # noqa: NPY002


def map_of_boxes(region, stride, seed):
    return by_permutation(region, stride, seed)[::stride, ::stride]


def numbers_not_bool(region, stride, seed):
    return by_permutation(region, stride, seed).astype(int)


def stride_two_built_in(region, stride, seed):
    return by_permutation(region, 2, seed)


def writes_into_region(region, stride, seed):
    answer = by_permutation(region, stride, seed)
    region[:] = answer
    return region


def without_the_frame(region, stride, seed):
    touched = _touched(region, stride)
    free = ~touched
    free[0], free[-1], free[:, 0], free[:, -1] = False, False, False, False
    if free.sum() < touched.sum():  # no room inside
        return by_permutation(region, stride, seed)
    chosen = np.zeros(touched.size, bool)
    chosen[np.random.default_rng(seed).choice(np.flatnonzero(free), touched.sum(), replace=False)] = True
    return _pixels(chosen.reshape(touched.shape), stride)


def room_is_not_enough(region, stride, seed):
    touched = _touched(region, stride)
    if touched.sum() >= (~touched).sum():
        raise ValueError("too few free boxes")
    return by_permutation(region, stride, seed)


def no_room_is_nothing(region, stride, seed):
    touched = _touched(region, stride)
    if touched.sum() > (~touched).sum():
        return None
    return by_permutation(region, stride, seed)


def asserts_room(region, stride, seed):
    touched = _touched(region, stride)
    assert touched.sum() <= (~touched).sum()
    return by_permutation(region, stride, seed)


def as_many_as_there_are(region, stride, seed):
    touched = _touched(region, stride)
    free = np.random.default_rng(seed).permutation(np.flatnonzero(~touched))
    chosen = np.zeros(touched.size, bool)
    chosen[free[: touched.sum()]] = True
    return _pixels(chosen.reshape(touched.shape), stride)


# --- exercise 4: credit(run, parts) ----------------------------------------------------------------------------------


def with_frozensets(run, parts):
    everything = frozenset(parts)
    whole, nothing = run(frozenset()), run(everything)
    if whole == nothing:
        none = dict.fromkeys(parts, math.nan)
        return {"needed": none, "enough": dict(none), "interaction": math.nan}
    total = whole - nothing
    answer = {"needed": {}, "enough": {}, "interaction": 1.0}
    for part in parts:
        answer["needed"][part] = (whole - run({part})) / total
        answer["enough"][part] = (run(everything.difference([part])) - nothing) / total
        answer["interaction"] -= answer["needed"][part]
    return answer


def with_numpy(run, parts):
    whole, nothing = np.float64(run([])), np.float64(run(list(parts)))
    total = whole - nothing if whole != nothing else np.nan
    lost = np.array([whole - run([part]) for part in parts]) / total
    left = np.array([run([other for other in parts if other != part]) - nothing for part in parts]) / total
    needed, enough = dict(zip(parts, lost, strict=True)), dict(zip(parts, left, strict=True))
    return {"needed": needed, "enough": enough, "interaction": 1 - lost.sum()}


def credited(needed=None, enough=None, interaction=None, total=None):
    """The right answer with one piece in another way; each gets (S of a set, the set of all, part or needed, T)."""

    def answer(run, parts):
        everything = frozenset(parts)
        known = {}

        def score(*taken):
            key = frozenset(taken)
            if key not in known:
                known[key] = run(key)
            return known[key]

        whole, nothing = score(), score(*parts)
        t = (total or (lambda a, b: a - b))(whole, nothing) or math.nan
        lost = {p: (needed or (lambda s, e, p, t: (s() - s(p)) / t))(score, everything, p, t) for p in parts}
        left = {p: (enough or (lambda s, e, p, t: (s(*(e - {p})) - s(*e)) / t))(score, everything, p, t) for p in parts}
        rest = interaction(lost, left, t) if interaction else 1 - sum(lost.values())
        return {"needed": lost, "enough": left, "interaction": rest}

    return answer


def exchanged(run, parts):
    right = with_frozensets(run, parts)
    return {"needed": right["enough"], "enough": right["needed"], "interaction": right["interaction"]}


def no_nan(run, parts):
    whole, nothing = run(set()), run(set(parts))
    needed = {p: (whole - run({p})) / (whole - nothing) for p in parts}
    enough = {p: (run(set(parts) - {p}) - nothing) / (whole - nothing) for p in parts}
    return {"needed": needed, "enough": enough, "interaction": 1 - sum(needed.values())}


def infinite(run, parts):
    with np.errstate(all="ignore"):
        whole, nothing = np.float64(run(set())), np.float64(run(set(parts)))
        needed = {p: (whole - run({p})) / (whole - nothing) for p in parts}
        enough = {p: (run(set(parts) - {p}) - nothing) / (whole - nothing) for p in parts}
        return {"needed": needed, "enough": enough, "interaction": 1 - sum(needed.values())}


def zeros_for_nan(run, parts):
    right = with_frozensets(run, parts)
    if math.isnan(right["interaction"]):
        return {"needed": dict.fromkeys(parts, 0.0), "enough": dict.fromkeys(parts, 0.0), "interaction": 0.0}
    return right


def nothing_where_t_is_0(run, parts):
    right = with_frozensets(run, parts)
    if not math.isnan(right["interaction"]):
        return right


def interaction_not_nan(run, parts):
    right = with_frozensets(run, parts)
    return {**right, "interaction": 0.0} if math.isnan(right["interaction"]) else right


def measured_again_and_again(run, parts):
    total = lambda: (run(set()) - run(set(parts))) or math.nan  # noqa: E731
    needed = {p: (run(set()) - run({p})) / total() for p in parts}
    enough = {p: (run(set(parts) - {p}) - run(set(parts))) / total() for p in parts}
    return {"needed": needed, "enough": enough, "interaction": 1 - sum(needed.values())}


def credit_by_lesson(run, parts):
    from sgdc_viz.teach.lessons import cause

    return cause.two_questions(run, parts)


def a_text_for_a_set(run, parts):
    whole, nothing = run(set()), run(set(parts))
    needed = {p: (whole - run(p)) / (whole - nothing) for p in parts}
    return {"needed": needed, "enough": needed, "interaction": 0.0}


def letters_for_names(run, parts):
    whole, nothing = run(set()), run(set(parts))
    needed = {p: (whole - run(set(p))) / (whole - nothing) for p in parts}
    return {"needed": needed, "enough": needed, "interaction": 0.0}


def the_three_of_the_notebook(run, parts):
    return with_frozensets(run, ("kernels", "gate_static", "gate_dynamic"))


def lists_not_dicts(run, parts):
    right = with_frozensets(run, parts)
    return {**right, "needed": list(right["needed"].values())}


# --- exercise 5: supported() -----------------------------------------------------------------------------------------


def letters(*chosen):
    return lambda: set(chosen)


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_reshape, by_numpy, own_order_for_each_image, by_rows_and_columns_of_pixels],
        wrong=[
            ("the library's function", by_lens, "shuffle is the library's own version"),
            ("the library's function, by its module", by_lens_module, "shuffle is the library's own version"),
            ("height and width exchanged", height_and_width_exchanged, "neighbours are still|fixed rule"),
            ("written column by column", written_column_by_column, "fixed rule"),
            ("every k-th pixel", every_fifth, "fixed rule"),
            ("an order for each channel", order_for_each_channel, "order of its own"),
            ("argsort of noise of the value's shape", argsort_of_noise, "order of its own"),
            ("sorted, not shuffled", sorted_values, "order of its own"),
            ("channels shuffled, pixels left", channels_shuffled, "channels changed places and pixels did not"),
            ("pixels and channels in one shuffle", pixels_and_channels, "from one channel to another"),
            ("shuffled across the batch", over_the_batch, "one image of the batch to another"),
            ("images exchanged", batch_rolled, "one image of the batch to another"),
            ("input changed in place", in_place, "in place"),
            ("left flat", still_flat, "bring the flat pixels back"),
            ("width before height", width_before_height, "H comes before W"),
            ("rows shuffled", rows_only, "stays in its column"),
            ("columns shuffled", columns_only, "stays in its row"),
            ("rows and columns shuffled", rows_and_columns, "keeps lines as lines"),
            ("shuffled within each row", within_rows, "stays in its row"),
            ("drawn with repetition", with_repetition, "appear twice"),
            ("another order at each call", new_each_time, "two calls give two different orders"),
            ("torch's global seed set", global_seed, "global random state"),
            ("numpy's global seed set", numpy_global_seed, "global random state"),
            ("mirrored", lambda value, site: value.flip(-1), "stays in its row"),
            ("turned by 180 degrees", lambda value, site: value.flip(-1, -2), "neighbours are still neighbours"),
            ("shifted", lambda value, site: value.roll((2, 3), (-2, -1)), "neighbours are still neighbours"),
            ("flipped along the channels", lambda value, site: value.flip(1), "channels changed places"),
            ("nothing moved", lambda value, site: value.clone(), "nothing is shuffled"),
            ("a part shuffled", half_of_it, "neighbours are still neighbours|most pixels"),
            ("noise in place of the values", lambda v, s: torch.zeros_like(v) + 0.5, "values that `value` does not"),
            ("mean in place of the values", lambda v, s: v.mean((-2, -1), keepdim=True).expand_as(v), "does not have"),
            ("size built in", the_library_s_size, "stops with IndexError"),
            ("four axes built in", only_guidance, "stops with ValueError: too many values"),
            ("the order in place of the pixels", lambda v, s: list(range(4)), "a tensor, not a list"),
        ],
    ),
    "exercise_2": Exercise(
        right=[with_where, with_a_loop, with_errstate],
        wrong=[
            ("missing, not restored", shares(_each(lambda a, b, p: (a - p) / (a - b))), "what is still missing"),
            ("divided by the clean score", shares(_each(lambda a, b, p: (p - b) / a)), "divided by the clean score"),
            ("divided by the corrupt score", shares(_each(lambda a, b, p: (p - b) / b)), "divided by the corrupt"),
            ("not divided", shares(_each(lambda a, b, p: p - b)), "that is the gain itself"),
            ("a ratio of scores", shares(_each(lambda a, b, p: p / a)), "ratio of scores"),
            ("wrong sign", shares(_each(lambda a, b, p: (b - p) / (a - b))), "the sign is wrong"),
            ("roles exchanged", shares(_each(lambda a, b, p: (a - b) / (p - b))), "exchanged"),
            ("clipped", shares(_each(lambda a, b, p: ((p - b) / (a - b)).clip(0, 1))), "you clipped to 0..1"),
            ("clipped below", shares(_each(lambda a, b, p: ((p - b) / (a - b)).clip(min=0))), "clipped at 0"),
            ("clipped above", shares(_each(lambda a, b, p: ((p - b) / (a - b)).clip(max=1))), "clipped at 1"),
            ("absolute value", shares(_each(lambda a, b, p: abs((p - b) / (a - b)))), "took the absolute value"),
            ("absolute gap", shares(_each(lambda a, b, p: (p - b) / abs(a - b))), "keep the sign of the gap"),
            ("in percent", shares(_each(lambda a, b, p: 100 * (p - b) / (a - b))), "percent"),
            (
                "NaN where blurring helps",
                shares(_each(lambda a, b, p: np.where(a > b, (p - b) / (a - b), np.nan))),
                "where corrupting helps",
            ),
            (
                "`together` clipped",
                shares(together=lambda a, b, p: np.clip((p - b).mean() / (a - b).mean(), 0, 1) if (a - b).any() else 0),
                "you clipped `together`",
            ),
            (
                "`together` clipped below",
                shares(together=lambda a, b, p: max((p - b).mean() / (a - b).mean(), 0.0)),
                "you clipped `together`",
            ),
            (
                "`together` clipped above",
                shares(together=lambda a, b, p: min((p - b).mean() / (a - b).mean(), 1.0)),
                "you clipped `together`",
            ),
            (
                "absolute value of `together`",
                shares(together=lambda a, b, p: abs((p - b).mean() / (a - b).mean())),
                "you took the absolute value; below 0",
            ),
            (
                "divided by what is still missing",
                shares(_each(lambda a, b, p: (p - b) / (a - p))),
                "you divided by clean - patched",
            ),
            (
                "mean gain by what is still missing",
                shares(together=lambda a, b, p: (p - b).mean() / (a - p).mean()),
                "you divided by clean - patched",
            ),
            ("divided by zero", plain_division, "NumPy warns"),
            ("divided by zero in silence", silenced_division, "infinite, not NaN"),
            ("0/0 is NaN, so all is well", only_where_all_agree, "infinite, not NaN|NumPy warns"),
            ("a small number in the divisor", epsilon, "share becomes huge|NaN, yours is 0"),
            ("0 for NaN", zero_for_nan, "nothing was lost"),
            ("mean of the shares", shares(together=lambda a, b, p: ((p - b) / (a - b)).mean()), "mean of the shares"),
            (
                "nanmean of the shares",
                shares(together=lambda a, b, p: np.nanmean(with_where(a, b, p)[0])),
                "mean of the shares",
            ),
            (
                "median of the shares",
                shares(together=lambda a, b, p: np.median(with_where(a, b, p)[0])),
                "median of the shares",
            ),
            ("sum over mean", shares(together=lambda a, b, p: (p - b).sum() / (a - b).mean()), "a sum and the other"),
            (
                "signs lost in the mean",
                shares(together=lambda a, b, p: abs(p - b).mean() / abs(a - b).mean()),
                "keep the signs",
            ),
            (
                "images without a gap left out",
                shares(
                    together=lambda a, b, p: (
                        (p - b)[a != b].mean() / (a - b)[a != b].mean() if (a - b).sum() else math.nan
                    )
                ),
                "without a gap count",
            ),
            (
                "mean gap 0 not caught",
                shares(
                    together=lambda a, b, p: np.divide(
                        (p - b).mean(), (a - b).mean(), out=np.array(0.0), where=(a - b).mean() != 0
                    )
                ),
                "nothing to share",
            ),
            ("mean for each", shares(lambda a, b, p: ((p - b) / np.where(a == b, 1, a - b)).mean()), "do not average"),
            ("together for each image", shares(together=lambda a, b, p: p - b), "must be one number"),
            ("one answer of two", lambda a, b, p: with_where(a, b, p)[0][:3], "return two things"),
            ("for a single image", for_one_image, "stops with ValueError: The truth value"),
            ("input changed in place", changes_its_input, "changes the scores"),
            ("words", lambda a, b, p: ("all of it", "most"), "array of numbers"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_permutation, one_pixel_of_each_box, with_scores],
        wrong=[
            ("everything else", everything_else, "everything else"),
            ("all free boxes", all_free_boxes, "everything else"),
            ("the region itself", lambda region, stride, seed: region.copy(), "the region itself"),
            ("as many pixels, scattered", scattered_pixels, "count boxes"),
            ("pixels outside, boxes shared", disjoint_pixels, "boxes touch both"),
            ("boxes counted from pixels", count_from_pixels, "divided the number of pixels"),
            ("shifted onto itself", shifted, "lie in the region itself"),
            ("boxes anywhere", any_boxes, "lie in the region itself|touch both"),
            ("boxes drawn twice", boxes_drawn_twice, "replace=False"),
            ("only full boxes count", all_touched_means_full, "too few"),
            ("the first boxes", first_boxes, "all seeds give the same"),
            ("seed not used", fixed_seed, "all seeds give the same"),
            ("another region at each call", never_the_same, "same seed gives two different"),
            ("numpy's global seed set", global_seed_3, "global random state"),
            ("a map of boxes", map_of_boxes, "map of boxes"),
            ("numbers", numbers_not_bool, "a mask is bool"),
            ("stride 2 built in", stride_two_built_in, "is 2 built in"),
            ("a window that moves with the seed", moving_window, "window that moves with the seed"),
            ("a fixed order and a window", window_in_fixed_order, "window that moves with the seed"),
            ("drawn among all, overlaps removed", removed_afterwards, "removed after drawing"),
            ("writes into the region", writes_into_region, "into `region` itself"),
            ("never at the frame", without_the_frame, "frame of the image"),
            ("no room, no word", as_many_as_there_are, "there is no room"),
            ("no room, nothing returned", no_room_is_nothing, "there is no room"),
            ("no room, another error", asserts_room, "yours stops with AssertionError"),
            ("half of the boxes is too much", room_is_not_enough, "there is room"),
        ],
    ),
    "exercise_4": Exercise(
        right=[with_frozensets, with_numpy],
        wrong=[
            ("the library's function", credit_by_lesson, "two_questions is the library's own version"),
            ("needed and enough exchanged", exchanged, "are exchanged"),
            ("sign of needed", credited(lambda s, e, p, t: (s(p) - s()) / t), "sign is wrong"),
            ("needed not divided", credited(lambda s, e, p, t: s() - s(p)), '"needed": it is not divided'),
            ("divided by the whole score", credited(lambda s, e, p, t: (s() - s(p)) / s()), "divided by the score"),
            ("the remaining score", credited(lambda s, e, p, t: s(p) / t), "was left standing"),
            ("needed from the wrong end", credited(lambda s, e, p, t: (s(p) - s(*e)) / t), "starts from the whole"),
            ("the others taken for needed", credited(lambda s, e, p, t: (s() - s(*(e - {p}))) / t), "other\\* parts"),
            ("absolute needed", credited(lambda s, e, p, t: abs((s() - s(p)) / t)), "absolute value"),
            ("needed in percent", credited(lambda s, e, p, t: 100 * (s() - s(p)) / t), "percent"),
            (
                "shares forced to 1",
                credited(lambda s, e, p, t: (s() - s(p)) / sum(s() - s(q) for q in e)),
                "scaled the shares",
            ),
            ("absolute total", credited(total=lambda a, b: abs(a - b)), "T has its sign turned"),
            ("lost for enough", credited(enough=lambda s, e, p, t: (s() - s(*(e - {p}))) / t), "not what is kept"),
            ("taken alone for enough", credited(enough=lambda s, e, p, t: (s(p) - s(*e)) / t), "others must be taken"),
            (
                "one minus needed",
                credited(enough=lambda s, e, p, t: 1 - (s() - s(p)) / t),
                "others must be taken|not measured",
            ),
            ("needed twice", credited(enough=lambda s, e, p, t: (s() - s(p)) / t), "enough is not needed"),
            ("sign of enough", credited(enough=lambda s, e, p, t: (s(*e) - s(*(e - {p}))) / t), "sign is wrong"),
            ("enough not divided", credited(enough=lambda s, e, p, t: s(*(e - {p})) - s(*e)), '"enough": it is not'),
            ("nothing subtracted", credited(enough=lambda s, e, p, t: s(*(e - {p})) / t), "was not subtracted"),
            ("sign of the interaction", credited(interaction=lambda n, e, t: sum(n.values()) - 1), "sign is wrong"),
            ("sum for the interaction", credited(interaction=lambda n, e, t: sum(n.values())), "the sum itself"),
            ("interaction from enough", credited(interaction=lambda n, e, t: 1 - sum(e.values())), 'not "enough"'),
            ("mean for sum", credited(interaction=lambda n, e, t: 1 - sum(n.values()) / len(n)), "mean of the shares"),
            ("absolute interaction", credited(interaction=lambda n, e, t: abs(1 - sum(n.values()))), "absolute value"),
            (
                "interaction not divided",
                credited(interaction=lambda n, e, t: t * (1 - sum(n.values()))),
                "divided by T",
            ),
            ("no NaN", no_nan, "ZeroDivisionError; make"),
            ("infinite for NaN", infinite, "infinite for NumPy"),
            ("0 for NaN", zeros_for_nan, "all shares are NaN"),
            ("nothing returned where T is 0", nothing_where_t_is_0, "yours returns nothing"),
            ("interaction 0 where T is 0", interaction_not_nan, '"interaction" is NaN'),
            ("a pass for each number", measured_again_and_again, "forward pass"),
            ("a text for a set", a_text_for_a_set, "stops with TypeError: run\\('kernels'\\) was given a text"),
            ("letters for names", letters_for_names, "which is none of"),
            ("three names built in", the_three_of_the_notebook, "which is none of"),
            ("lists for dicts", lists_not_dicts, "must be a dict"),
            ("one dict of shares", lambda run, parts: dict.fromkeys(parts, 0.0), "the keys"),
        ],
    ),
    "exercise_5": Exercise(
        right=[letters("A", "C", "G"), lambda: ["G", "C", "A"], lambda: "ACG"],
        wrong=[
            ("used means needed by all", letters("A", "B", "C", "G"), "B is not supported: the pooled network"),
            ("dynamic convolution means kernels", letters("A", "C", "D", "G"), "D is not supported"),
            ("no change of the mask, no influence", letters("A", "C", "E", "G"), "E is not supported: the logits"),
            ("used means better", letters("A", "C", "F", "G"), "F is not supported: what zeroing costs"),
            ("an interval over images covers runs", letters("A", "C", "G", "H"), "H is not supported"),
            ("used is not shown", letters("C", "G"), "108 real test images"),
            ("the control does not count", letters("A", "G"), "section 3"),
            ("the ways do not count", letters("A", "C"), "section 5"),
            ("nothing can be said", letters(), "a sentence that holds is missing"),
            ("letters that do not exist", letters("A", "Z"), "letters A to H"),
            ("a dict", lambda: {"A": 1}, "set of the capital letters"),
        ],
    ),
}
