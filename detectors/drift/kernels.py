"""The loops over units, compiled: a unit brings a few additions to many small arrays, each a call if numpy does them.

Arithmetic is IEEE's, one operation after another as written here, never reordered or fused. So results are the same bit
for bit however a sequence is cut into batches, and on every processor.

Machine code is kept on disk by this file's date: nothing here may come from another of our modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

NEAR = 2e-3
"""A strangeness this near to the edge of a bin, in bins, is measured again; errors of single precision are several
times smaller."""

ROUNDING = 2.0**-16
"""The same where bins are narrow, of the squares that a strangeness is the difference of: 256 roundings."""


def compiled(function: FunctionT) -> FunctionT:
    """Compile at the first call with such types; machine code is kept where there is a directory for it."""
    try:
        made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # nowhere to write, as in a container that is read-only
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(FunctionT, made)


class Space(NamedTuple):
    """What lengths and distances of vectors need of a `VectorReference`.

    Attributes:
        axes: (d, r) principal axes.
        extra: (r,) their weights, less that of the other directions.
        rest: weight of the other directions.
        origin: (d,) mean of the fit part.
        centroids: (r, K) of the fit part, as columns, each axis times its weight.
        centroid_squares: (K,) weighted square lengths.
    """

    axes: Float32Array
    extra: Float32Array
    rest: float
    origin: Float32Array
    centroids: Float32Array
    centroid_squares: Float32Array


# -- measures ------------------------------------------------------------------------------------------------------


@compiled
def _times(row: Float32Array, matrix: Float32Array, out: Float32Array) -> None:
    """out = row @ matrix; four rows of the matrix at a time, so that sums stay in registers."""
    n, m = matrix.shape
    whole = n - n % 4
    out[:] = 0
    for i in range(0, whole, 4):
        a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
        for k in range(m):
            out[k] = out[k] + a * matrix[i, k] + b * matrix[i + 1, k] + c * matrix[i + 2, k] + d * matrix[i + 3, k]
    for i in range(whole, n):
        for k in range(m):
            out[k] += row[i] * matrix[i, k]


@compiled
def _square(row: Float32Array, space: Space, along: Float32Array) -> float:
    """Weighted square length; leaves the row's coordinates along the axes in `along`."""
    _times(row, space.axes, along)
    plain, weighted = 0.0, 0.0
    for i in range(len(row)):
        plain += np.float64(row[i]) * np.float64(row[i])
    for k in range(len(along)):
        weighted += np.float64(space.extra[k]) * (np.float64(along[k]) * np.float64(along[k]))
    return space.rest * plain + weighted


@compiled
def _strangeness(
    vector: Float32Array, space: Space, away: Float32Array, along: Float32Array, dots: Float32Array
) -> float:
    """Weighted square distance from the nearest centroid."""
    for i in range(len(vector)):
        away[i] = vector[i] - space.origin[i]  # first: of vectors that hardly differ, little else would be left
    square = _square(away, space, along)
    _times(along, space.centroids, dots)
    nearest = -np.inf
    for k in range(len(dots)):
        nearest = max(nearest, 2 * np.float64(dots[k]) - np.float64(space.centroid_squares[k]))
    return square - nearest


@compiled
def squares(rows: Float32Array, space: Space) -> FloatArray:
    """(n,) weighted square lengths of (n, d) rows."""
    along = np.empty(space.axes.shape[1], np.float32)
    found = np.empty(len(rows))
    for i in range(len(rows)):
        found[i] = _square(rows[i], space, along)
    return found


@compiled
def bins(
    vectors: Float32Array, measured: FloatArray, space: Space, grid: FloatArray, size: float, last: int
) -> IntArray:
    """Bins of strangeness: 0 for all that is ordinary, the last for all that is beyond the grid.

    Args:
        vectors: (n, d) to measure.
        measured: (n,) their strangeness, as many rows at once give it: to about single precision.
        space: where they are measured again if `measured` is so near to the edge of a bin that its last bits decide.
        grid: (2,) where bins begin, and their width.
        size: of a usual square length, of which `measured` is a difference.
        last: the number of the last bin.
    """
    d, r = space.axes.shape
    away, along, dots = np.empty(d, np.float32), np.empty(r, np.float32), np.empty(space.centroids.shape[1], np.float32)
    found = np.empty(len(vectors), np.int64)
    for i in range(len(vectors)):
        place = (measured[i] - grid[0]) / grid[1]
        if abs(place - np.rint(place)) < NEAR + ROUNDING * (size + abs(measured[i])) / grid[1]:
            place = (_strangeness(vectors[i], space, away, along, dots) - grid[0]) / grid[1]
        found[i] = int(min(max(np.floor(place) + 1, 0), last))
    return found


# -- moving means and looks ----------------------------------------------------------------------------------------


@compiled
def variance(rate: float, units: int) -> float:
    """Of a moving mean after so many units, in units of the variance of one."""
    a = np.float64(rate)
    return a / (2 - a) * -math.expm1(2 * units * math.log1p(-a))


@compiled
def advance(
    vectors: Float32Array,
    places: IntArray,
    inflow: FloatArray,
    units: int,
    spent: float,
    means: Float32Array,
    waiting: Float32Array,
    looked: FloatArray,
    stakes: FloatArray,
    centres: Float32Array,
    shift: Float32Array,
    counted: FloatArray,
    rates: Float32Array,
    strides: IntArray,
    space: Space,
) -> tuple[float, FloatArray]:
    """Take units into the moving means, and look where a stride ends.

    Args:
        vectors: (n, d) of the units.
        places: (n,) of the cycle.
        inflow: (n,) pages that each brings.
        units: of the stream before these.
        spent: pages that all of those brought.
        means: (scales, d + places) of the differences from the centre, and of the places; changed in place, as are the
            following.
        waiting: (1, d) sum of the chunk's differences; (0, d) if nothing waits.
        looked: (scales,) pages that had come by each scale's last look.
        stakes: (scales,) pages that it could spend.
        centres: (places, d) of the reference.
        shift: (d,) what growth added to them.
        counted: (places,) units behind each.
        rates: (scales,) weight of a new unit.
        strides: (scales,) units between looks, each a multiple of the one before.
        space: of the reference.

    Returns:
        Pages that all units brought now, and (looks, 5): scale, unit, square length of the moving mean less the centre,
        its variance in units of one unit's, stake.
    """
    d, scales = len(shift), len(strides)
    row, along = np.empty(d, np.float32), np.empty(space.axes.shape[1], np.float32)
    most = 0
    for j in range(scales):
        most += len(vectors) // strides[j] + 1
    looks, seen = np.empty((most, 5)), 0
    for i in range(len(vectors)):
        units, spent = units + 1, spent + inflow[i]
        for k in range(d):
            row[k] = vectors[i, k] - centres[places[i], k]
        if len(waiting):
            for k in range(d):
                waiting[0, k] += row[k]
        for j in range(scales):
            for k in range(d):
                means[j, k] += rates[j] * (row[k] - means[j, k])
            for k in range(len(counted)):
                means[j, d + k] += rates[j] * (np.float32(k == places[i]) - means[j, d + k])
        for j in range(scales):
            if units % strides[j]:
                break  # what does not divide a stride divides no longer one
            stakes[j], looked[j] = spent - looked[j], spent
            weight, error = np.float32(0), 0.0
            for k in range(len(counted)):
                weight += means[j, d + k]
                error += np.float64(means[j, d + k]) ** 2 / counted[k]
            for k in range(d):
                row[k] = means[j, k] - weight * shift[k]
            looks[seen, 0], looks[seen, 1], looks[seen, 4] = j, i, stakes[j]
            looks[seen, 2], looks[seen, 3] = _square(row, space, along), variance(rates[j], units) + error
            seen += 1
    return spent, looks[:seen]


# -- novelty -------------------------------------------------------------------------------------------------------


@compiled
def p_values(counts: IntArray, places: IntArray, bins: IntArray, uniforms: FloatArray) -> FloatArray:
    """(n,) conformal p-values of units by their (n,) places and bins among (places, bins) counted before."""
    above = np.empty_like(counts)
    known = np.zeros(len(counts), np.bool_)
    found = np.empty(len(bins))
    for i in range(len(bins)):
        at, k = places[i], bins[i]
        if not known[at]:
            known[at], total = True, 0
            for j in range(counts.shape[1] - 1, -1, -1):
                total += counts[at, j]
                above[at, j] = total
        upto = above[at, k] - counts[at, k] * (1 - uniforms[i]) + uniforms[i]
        found[i] = upto / (above[at, 0] + 1)
    return found


@compiled
def play(
    book: FloatArray,
    sizes: FloatArray,
    gain: FloatArray,
    left: FloatArray,
    p: FloatArray,
    inflow: FloatArray,
    units: int,
    latched_from: int,
    least_effect: float,
    calm: float,
) -> tuple[int, float, int, float, bool]:
    """Bet on units of one chunk, one after another; evidence is judged at units in a tail, for only these raise it.

    Args:
        book: (3, bets) capital in pages; capital times the unit it was put in at; capital times units in the tail since
            then; all of it before what was lost since the chunk began. Changed in place.
        sizes, gain, left: see `novelty.Bets`.
        p: (n,) p-values.
        inflow: (n,) pages that each unit brings to the lane.
        units: of the stream before these.
        latched_from: unit (from 0) from which on the stream is latched, n if it is not.
        least_effect: share below which nothing pages.
        calm: evidence that counts as restless.

    Returns:
        The unit whose evidence reached 1 first, or -1; its evidence; estimated units since the change began; estimated
        share of the traffic that is affected; whether the evidence was ever at least `calm`.
    """
    bets, chunk = len(sizes), len(left) - 1
    begun = units % chunk
    page, evidence, age, effect, total = -1, 0.0, 1, 0.0, 0.0
    for b in range(bets):
        total += book[0, b] * left[begun, b]
    restless = total >= calm
    for i in range(len(p)):
        for b in range(bets):
            share = inflow[i] / bets / left[begun + i, b]
            book[0, b] += share
            book[1, b] += share * (units + i + 1)
        if p[i] >= sizes[bets - 1]:
            continue
        total, best = 0.0, 0
        for b in range(bets):
            if p[i] < sizes[b]:
                book[2, b] = (book[2, b] + book[0, b]) * gain[b]
                book[0, b] *= gain[b]
                book[1, b] *= gain[b]
            total += book[0, b] * left[begun + i + 1, b]
            if book[0, b] * left[begun + i + 1, b] > book[0, best] * left[begun + i + 1, best]:
                best = b
        restless = restless or total >= calm
        if total >= 1:
            since = max(1, int(np.rint(units + i + 1 - book[1, best] / book[0, best])) + 1)
            share = max(0.0, book[2, best] / book[0, best] / since - sizes[best])
            if i < latched_from and page < 0 and share >= least_effect:
                page, evidence, age, effect = i, total, since, share
            if page < 0 or i > page:
                book /= total  # evidence is worth a page at most while nobody is told
    if begun + len(p) == chunk:
        book *= left[chunk]
    return page, evidence, age, effect, restless


# -- signals -------------------------------------------------------------------------------------------------------


@compiled
def bet(
    values: FloatArray,
    places: IntArray,
    inflow: FloatArray,
    first: int,
    units: int,
    excess: float,
    calm_units: int,
    latched: bool,
    book: FloatArray,
    seen: IntArray,
    paid: FloatArray,
    edges: FloatArray,
    pays: FloatArray,
    means: FloatArray,
    unit: float,
    farthest: float,
    burn: float,
    calm: float,
    rearm: int,
    least_effect: float,
) -> tuple[int, int, float, int, bool, float, int, float]:
    """Bet on values one after another until one pages; those that are not finite are skipped.

    Args:
        values: (n,) of the signal.
        places: (n,) of the cycle.
        inflow: (n,) pages that each brings.
        first: the value to begin with.
        units: of the stream before it.
        excess: sum of the excess of those over the reference's mean.
        calm_units: consecutive units whose evidence stayed under `calm`.
        latched: a page went out and is not dealt with.
        book: (3, bets) capital in pages; capital times the unit, and times the excess, before it was put in. Changed in
            place, as are the following.
        seen: (places,) all values seen.
        paid: (places, bets) what each bet pays for all of them together.
        edges: (k,) of the bins.
        pays: (k + 1, bets) what each bet pays in each bin.
        means: (places,) of the reference.
        unit: what an excess is measured in.
        farthest: the largest excess that counts.
        burn: inflows that capital loses in the time of one.
        calm: evidence below which a unit is calm.
        rearm: calm units after which a latched stream is armed again.
        least_effect: mean excess below which nothing pages.

    Returns:
        The value after the last one; then `units`, `excess`, `calm_units` and `latched`; and if that one paged, the
        evidence, the estimated units since the change began and its size, otherwise an evidence of 0.
    """
    bets = book.shape[1]
    for i in range(first, len(values)):
        if not np.isfinite(values[i]):
            continue
        at, units = places[i], units + 1
        pay = pays[np.searchsorted(edges, values[i])]
        if not latched:  # what follows a page is not accepted traffic, and is compared with what came before it
            seen[at] += 1
            for b in range(bets):
                paid[at, b] += pay[b]
        stake, kept, total = inflow[i] / bets, max(1 - burn * inflow[i], 0.0) * seen[at], 0.0
        for b in range(bets):
            factor = pay[b] * kept / paid[at, b]
            book[0, b] = (book[0, b] + stake) * factor
            book[1, b] = (book[1, b] + stake * units) * factor
            book[2, b] = (book[2, b] + stake * excess) * factor
            total += book[0, b]
        excess += min(max((values[i] - means[at]) / unit, -farthest), farthest)
        calm_units = calm_units + 1 if total < calm else 0
        if total >= 1:
            start, before = 0.0, 0.0
            for b in range(bets):
                start += book[1, b]
                before += book[2, b]
            age = units + 1 - start / total
            effect = abs((excess - before / total) / age)
            book /= total  # a page's worth is kept
            if not latched and effect >= least_effect:
                return i + 1, units, excess, calm_units, True, total, max(1, int(np.rint(age))), effect
        elif latched and calm_units >= rearm:
            latched, calm_units = False, 0
            book[:] = 0
    return len(values), units, excess, calm_units, latched, 0.0, 1, 0.0
