"""Reads the files of a run the way their usual readers do, with nothing but Python's own library.

    read_back.py bench-py DIR      prints the variables that bench.py would have written of DIR
    read_back.py percentiles DIR   k6-summary.json against requests.jsonl, bit by bit
    read_back.py csv DIR           k6-results.csv against k6-summary.json
    read_back.py junit FILE...     junit.xml against JUnit's schema

Ends with a non-zero status and a sentence on the first thing that is wrong. Written from what those
readers are known to do; no line of theirs is in it.
"""

import csv
import json
import math
import os
import re
import statistics
import sys
import xml.etree.ElementTree as xml
from datetime import datetime

# k6's columns with its default system tags, in its order.
COLUMNS = (
    "metric_name timestamp metric_value check error error_code expected_response group method name "
    "proto scenario service status subproto tls_version url extra_tags metadata"
).split()

GAUGES = {"pp": "llamacpp:prompt_tokens_seconds", "tg": "llamacpp:predicted_tokens_seconds"}


def name_of_variable(text):
    return re.sub("[^A-Z0-9]", "_", text.upper())


def bench_py(folder):
    with open(os.path.join(folder, "k6-results.json"), encoding="utf-8") as file:
        data = json.load(file)
    for metric, stats in data["metrics"].items():
        for stat, value in stats.items():
            if isinstance(value, (int, float)):
                stats[stat] = round(value, 2)
                print(f"{name_of_variable(metric)}_{name_of_variable(stat)}={stats[stat]}")
    iterations = data["root_group"]["checks"]["success completion"]["passes"]
    with open(os.path.join(folder, "server-metrics.jsonl"), encoding="utf-8") as file:
        pages = [json.loads(line)["metrics"] or {} for line in file]

    def pair(metric):
        stats = data["metrics"][metric]
        return {"p95": round(stats["p(95)"], 2), "avg": round(stats["avg"], 2)}

    def mean(gauge):
        values = [page[gauge] for page in pages if page.get(gauge) is not None]
        return round(statistics.mean(values), 2) if values else 0

    results = {
        "i": iterations,
        "req": pair("http_req_duration"),
        "pp": {**pair("llamacpp_prompt_processing_second"), "0": mean(GAUGES["pp"])},
        "tg": {**pair("llamacpp_tokens_second"), "0": mean(GAUGES["tg"])},
    }
    line = json.dumps(results, separators=(",", ":"))
    assert len(line) <= 140, f"{len(line)} characters do not fit a commit status"
    print(f"BENCH_RESULTS={line}")
    print(f"BENCH_ITERATIONS={iterations}")


def k6_percentile(values, fraction):
    values = sorted(values)
    position = fraction * (len(values) - 1)
    low, high = values[math.floor(position)], values[math.ceil(position)]
    return low + (high - low) * (position - math.floor(position))


def percentiles(folder):
    with open(os.path.join(folder, "requests.jsonl"), encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if row["phase"] == "measured" and row["outcome"] == "completed"]
    assert rows, "nothing to compare"
    rows.sort(key=lambda row: row["end_s"])

    def began(row):
        return next(row[at] for at in ("connect_started_s", "written_s") if row[at] is not None)

    def nanos(row, to):
        return round((row[to] - began(row)) * 1e9)

    def decode(row):
        return round((row["end_s"] - row["first_content_s"]) * 1e9) / 1e9

    expected = {
        "http_req_duration": [nanos(row, "end_s") / 1e6 for row in rows],
        "http_req_sending": [nanos(row, "headers_s") / 1e6 for row in rows for _ in "12"],
        "llamacpp_emit_first_token_second": [nanos(row, "first_content_s") / 1e9 for row in rows],
        "llamacpp_prompt_processing_second": [
            row["prompt_tokens"] / (nanos(row, "first_content_s") / 1e9) for row in rows
        ],
        "llamacpp_tokens_second": [
            row["completion_tokens"] / decode(row) for row in rows if decode(row) > 0
        ],
        "llamacpp_prompt_tokens": [row["prompt_tokens"] for row in rows],
        "llamacpp_completion_tokens": [row["completion_tokens"] for row in rows],
    }
    with open(os.path.join(folder, "k6-summary.json"), encoding="utf-8") as file:
        metrics = json.load(file)["metrics"]
    for metric, values in expected.items():
        found = metrics[metric]
        fractions = {"med": 0.5, "p(90)": 0.9, "p(95)": 0.95, "min": 0.0, "max": 1.0}
        for stat, fraction in fractions.items():
            wanted = k6_percentile(values, fraction)
            assert found[stat] == wanted, f"{metric} {stat}: {found[stat]!r}, not {wanted!r}"
        wanted = sum(values) / len(values)
        assert math.isclose(found["avg"], wanted, rel_tol=1e-12), f"{metric} avg: {found['avg']!r}"


def csv_file(folder):
    with open(os.path.join(folder, "k6-results.csv"), newline="", encoding="utf-8") as file:
        reader = csv.reader(file, strict=True)
        assert next(reader) == COLUMNS, "not k6's header"
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in reader]
    with open(os.path.join(folder, "k6-summary.json"), encoding="utf-8") as file:
        metrics = json.load(file)["metrics"]
    samples = {}
    for row in rows:
        assert re.fullmatch(r"\d{10}", row["timestamp"]), row
        assert re.fullmatch(r"\d+\.\d{6}", row["metric_value"]), row
        samples.setdefault(row["metric_name"], []).append(float(row["metric_value"]))
    assert samples.keys() == metrics.keys(), samples.keys() ^ metrics.keys()
    for metric, values in samples.items():
        stats = metrics[metric]
        if "med" in stats:
            assert abs(stats["avg"] - statistics.mean(values)) < 1e-5, metric
            assert abs(stats["p(95)"] - k6_percentile(values, 0.95)) < 1e-5, metric
        elif "passes" in stats:
            assert stats["passes"] == sum(values), metric
            assert stats["fails"] == len(values) - sum(values), metric
        elif "count" in stats:
            assert stats["count"] == sum(values), metric
        else:
            assert (stats["min"], stats["max"]) == (min(values), max(values)), metric
            assert stats["value"] == values[-1], metric


def junit(path):
    """The facts of the schema that Ant's, Jenkins' and GitLab's readers have in common."""
    root = xml.parse(path).getroot()
    assert root.tag == "testsuites" and [child.tag for child in root] == ["testsuite"]
    suite = root[0]
    for name in ("name", "package", "hostname"):
        assert suite.attrib[name].strip(), f"{name} is empty"
    datetime.strptime(suite.attrib["timestamp"], "%Y-%m-%dT%H:%M:%S")
    assert float(suite.attrib["time"]) >= 0
    tags = [child.tag for child in suite]
    cases = suite.findall("testcase")
    order = ["properties"] + ["testcase"] * len(cases) + ["system-out", "system-err"]
    assert tags == order, f"children in the order {tags}"
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counted = len(suite.findall(f"testcase/{tag}"))
        assert suite.attrib[attribute] == str(counted), f"{attribute}: {counted} counted"
    assert suite.attrib["tests"] == str(len(cases))
    names = [(case.attrib["classname"], case.attrib["name"]) for case in cases]
    assert len(set(names)) == len(names), "two cases of one name"
    for case in cases:
        float(case.attrib["time"])
        assert len(case) <= 1
        for outcome in case:
            assert outcome.attrib["message"].strip(), "a failure without words"
            assert outcome.tag == "skipped" or outcome.attrib["type"].strip()
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite.find("properties")}
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"]) > 0
    assert failed == (properties["exit_code"] != "0"), f"{properties['exit_code']} and {failed}"


def main(what, *paths):
    for path in paths:
        {"bench-py": bench_py, "percentiles": percentiles, "csv": csv_file, "junit": junit}[what](path)


main(*sys.argv[1:])
