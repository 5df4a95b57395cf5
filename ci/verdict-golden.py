#!/usr/bin/env python3
"""Writes tests/fixtures/verdict/golden.json: the verdict's statistics, computed by others.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python ci/verdict-golden.py > tests/fixtures/verdict/golden.json

Counts are whole numbers of Python, p values those of scipy.stats.wilcoxon (zeros split; where there
are ties or zeros, by its complete permutation of signs), intervals the shifts at which that test
turns, estimates numpy's median, t and p of Student's t scipy's, Holm's statsmodels'.
"""

import json
import platform
import sys

import numpy
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests

random = numpy.random.default_rng(20260101)


def counts(pairs):
    """How many assignments of signs give each W, from the product of (1 + x^r)."""
    ways = [1]
    for rank in range(1, pairs + 1):
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    return ways


def wilcoxon_p(differences):
    differences = numpy.asarray(differences)
    sizes = numpy.abs(differences)
    if not differences.any():
        return 1.0  # scipy has no answer for nothing but zeros
    tied = len(set(sizes)) < len(sizes) or (sizes == 0).any()
    method = stats.PermutationMethod(n_resamples=numpy.inf) if tied else "exact"
    return float(stats.wilcoxon(differences, zero_method="zsplit", method=method).pvalue)


def interval(differences):
    """The smallest and largest shift that a two-sided test at the level of the interval keeps.

    Found by moving just inside and just outside of each Walsh average: the test, not the rank of an
    order statistic, says where the interval ends.
    """
    differences = numpy.asarray(differences)
    pairs = len(differences)
    upper = numpy.triu_indices(pairs)
    walsh = numpy.sort((differences[upper[0]] + differences[upper[1]]) / 2)
    step = numpy.min(numpy.diff(walsh)) / 4
    kept = [w for w in walsh if wilcoxon_p(differences - (w + step)) > 0.05]
    low = min(kept)
    kept = [w for w in walsh if wilcoxon_p(differences - (w - step)) > 0.05]
    high = max(kept)
    ways = counts(pairs)
    below = 0
    for rank, count in enumerate(ways):
        if 2 * (below + count) > 0.05 * 2**pairs:
            break
        below += count
    return float(low), float(high), float(1 - 2 * below / 2**pairs)


def sample(pairs, kind):
    if kind == "smooth":
        return random.normal(0.01, 0.02, pairs)
    if kind == "heavy":
        return random.standard_t(2, pairs) * 0.01 + 0.005
    coarse = random.integers(-4, 6, pairs) / 8.0  # ties and zeros
    return coarse


cases = []
for kind, sizes in (
    ("smooth", (1, 2, 5, 6, 7, 8, 9, 10, 12, 16, 20, 24)),
    ("heavy", (6, 8, 12, 16, 24)),
    ("coarse", (1, 3, 5, 6, 8, 9, 10, 12, 13)),
):
    for pairs in sizes:
        differences = sample(pairs, kind)
        upper = numpy.triu_indices(pairs)
        case = {
            "kind": kind,
            "differences": differences.tolist(),
            "hodges_lehmann": float(numpy.median((differences[upper[0]] + differences[upper[1]]) / 2)),
            "p": wilcoxon_p(differences),
        }
        if kind != "coarse" and pairs >= 6:
            case["low"], case["high"], case["level"] = interval(differences)
        cases.append(case)

crossovers = []
for n_ab, n_ba in ((2, 1), (4, 4), (6, 6), (5, 4), (8, 8)):
    ab = random.normal(0.02, 0.01, n_ab)
    ba = random.normal(0.0, 0.01, n_ba)
    found = stats.ttest_ind(ab, -ba)  # mean AB + mean BA = 0, pooled
    crossovers.append(
        {
            "ab": ab.tolist(),
            "ba": ba.tolist(),
            "t": float(found.statistic),
            "p": float(found.pvalue),
            "estimate": float((ab.mean() + ba.mean()) / 2),
            "position_effect": float((ab.mean() - ba.mean()) / 2),
        }
    )

families = []
for count in (1, 2, 3, 8, 12):
    p = random.uniform(0, 0.2, count) ** 2
    families.append(
        {
            "p": p.tolist(),
            "holm": multipletests(p, method="holm")[1].tolist(),
            "q": stats.false_discovery_control(p, method="bh").tolist(),
        }
    )

golden = {
    "made_by": "ci/verdict-golden.py",
    "versions": {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "statsmodels": statsmodels.__version__,
    },
    "counts": [{"pairs": n, "ways": counts(n)} for n in (1, 2, 3, 6, 10, 25, 50)],
    "cases": cases,
    "crossovers": crossovers,
    "families": families,
    "t_quantiles": [
        {"below": below, "degrees": degrees, "t": float(stats.t.ppf(below, degrees))}
        for below in (0.55, 0.8, 0.9, 0.975, 0.995, 0.9995)
        for degrees in (1, 2, 3, 5, 7, 11, 15, 19, 49, 200)
    ],
    "t_tails": [
        {"t": t, "degrees": degrees, "p": float(2 * stats.t.sf(t, degrees))}
        for t in (0.1, 1.0, 2.5, 6.0)
        for degrees in (1, 2, 4, 9, 14, 60)
    ],
}
json.dump(golden, sys.stdout, separators=(",", ":"))
print()
