#!/usr/bin/env python3
"""Writes tests/fixtures/history/golden.json: what a history computes, computed by others.

    python3 -m venv venv && venv/bin/pip install apache-otava==0.8.0
    venv/bin/python ci/history-golden.py > tests/fixtures/history/golden.json

p of Welch's test are scipy's, bands are numpy's median and scipy's median_abs_deviation and quantile
of Student's t, the best split is the largest of the energy statistic written out as its double sums.
Change points are those of Apache Otava with the same p and magnitude: its test is a pooled t and it has
no least number of points a side, so the series here have steps that leave no doubt. One window holds
the whole series, for Otava 0.8.0 fails where two windows find the same point.
"""

import json
import platform
import sys
from importlib.metadata import version

import numpy
import scipy
from otava.analysis import compute_change_points
from scipy import stats

random = numpy.random.default_rng(20260101)
MAGNITUDE = float(numpy.log1p(0.02))


def welch(one, other):
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue)


def band(values):
    last = numpy.asarray(values[-50:])
    m = len(last)
    mad = stats.median_abs_deviation(last)
    half = stats.t.ppf(0.995, m - 1) * 1.4826 * mad * (1 + 1 / m) ** 0.5
    middle = float(numpy.median(last))
    return {"values": list(map(float, values)), "low": middle - half, "high": middle + half}


def best_split(values, least=5):
    values = numpy.asarray(values)

    def within(part):
        i, j = numpy.triu_indices(len(part), 1)
        return numpy.abs(part[i] - part[j]).mean()

    def q(at):
        left, right = values[:at], values[at:]
        m, n = len(left), len(right)
        between = numpy.abs(left[:, None] - right[None, :]).mean()
        return m * n / (m + n) * (2 * between - within(left) - within(right))

    return int(max(range(least, len(values) - least + 1), key=q))


def otava(values):
    found, _ = compute_change_points(values, window_len=2 * len(values), max_pvalue=0.001, min_magnitude=0.02)
    return [int(point.index) for point in found]


def steps(length, at, size, noise):
    """Logarithms of a series that moves by `size` at each of `at`, up and down in turn."""
    level = numpy.zeros(length)
    for count, index in enumerate(at):
        level[index:] += size * (1 if count % 2 == 0 else -1)
    return level + random.normal(0, noise, length) + 4.0


golden = {
    "made_by": f"Python {platform.python_version()}, numpy {numpy.__version__}, scipy {scipy.__version__}, "
    f"apache-otava {version('apache-otava')}",
    "welch": [],
    "bands": [band(random.normal(3, 0.02, length)) for length in (10, 11, 17, 50, 80)],
    "splits": [],
    "change_points": [],
}
for sizes in [(2, 2), (2, 9), (5, 5), (6, 44), (25, 25), (13, 37)]:
    for shift in (0.0, 0.3, 1.0, 3.0):
        one = random.normal(0, 1, sizes[0])
        other = random.normal(shift, 2, sizes[1])
        golden["welch"].append({"one": list(one), "other": list(other), "p": welch(one, other)})
for length, at in [(12, 6), (30, 10), (50, 25), (50, 45), (50, 5)]:
    values = steps(length, [at], 0.05, 0.02)
    golden["splits"].append({"values": list(values), "at": int(best_split(values))})
for length, at in [(40, [20]), (100, [50]), (100, [30, 70]), (120, [15, 60, 90]), (200, [100]), (60, [])]:
    values = steps(length, at, 0.08, 0.008)
    # Otava sees plain values: exp of the logarithms, whose steps are the same to the point.
    found = otava(numpy.exp(values))
    assert found == at, (at, found)
    golden["change_points"].append({"values": list(values), "at": found})
json.dump(golden, sys.stdout, indent=1)
sys.stdout.write("\n")
