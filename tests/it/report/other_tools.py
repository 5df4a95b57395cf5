"""Reads what `bench-ci report --format X` writes the way the tools do that it is for, with nothing but
Python's own library, and holds it against the report and its rows.

    other_tools.py WHAT FILE DIR    DIR holds report.json and requests.jsonl

Ends with a non-zero status and a sentence on the first thing that is wrong. Rules come from what those
tools document or do (named at each); no line of theirs is in it.
"""

import json
import math
import os
import re
import sqlite3
import statistics
import sys
from datetime import datetime


def rows_of(folder):
    with open(os.path.join(folder, "requests.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def report_of(folder):
    with open(os.path.join(folder, "report.json"), encoding="utf-8") as file:
        return json.load(file)


def completed(folder):
    return [r for r in rows_of(folder) if r["phase"] == "measured" and r["outcome"] == "completed"]


def same(left, right, what):
    if left is None or right is None:
        assert left is None and right is None, f"{what}: {left!r}, not {right!r}"
        return
    assert math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12), f"{what}: {left!r}, not {right!r}"


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file, parse_constant=no_constants)


def known_figures(report):
    """Every number of a report that an export may hold, by our names."""
    figures = {name: value for name, value in report["rates"].items() if isinstance(value, float)}
    for name, metric in report["metrics"].items():
        for statistic in ("mean", "p50", "p95", "p99"):
            if metric[statistic] is not None:
                figures[f"{name}_{statistic}"] = metric[statistic]
    figures["requests_failed"] = report["requests"]["failed"]
    return figures


# benchmark-action/github-action-benchmark, src/extract.ts: an array of objects with name, value and
# unit, and optional range and extra. Its coercion would take a null for 0, so that types are strict here.
def benchmark_action(path, folder, better):
    entries = load(path)
    report = report_of(folder)
    figures = known_figures(report)
    assert isinstance(entries, list) and entries, "not an array with entries"
    names = [entry["name"] for entry in entries]
    assert len(set(names)) == len(names), "two entries of one name overwrite each other in its charts"
    for entry in entries:
        assert set(entry) <= {"name", "unit", "value", "range", "extra"}, sorted(entry)
        assert all(isinstance(entry[key], str) for key in entry if key != "value"), entry
        assert isinstance(entry["value"], (int, float)) and not isinstance(entry["value"], bool), entry
        metric = entry["name"].rsplit(" ", 1)[1]
        same(entry["value"], figures[metric], metric)
        rate = metric.endswith("per_second") or "_per_second_" in metric
        assert rate == (better == "bigger"), f"{metric} is in the file of {better}"
        if report["server"]["kind"] == "sim":
            assert "simulator" in entry["name"], entry
        evidence = report["run"]["exit_code"] == 0 and report["client"]["valid"]
        assert evidence != ("not evidence" in entry["extra"]), entry


def benchmark_action_smaller(path, folder):
    benchmark_action(path, folder, "smaller")


def benchmark_action_bigger(path, folder):
    benchmark_action(path, folder, "bigger")


# https://bencher.dev/bmf.json: benchmark -> measure -> value, lower_value, upper_value.
def bencher(path, folder):
    benchmarks = load(path)
    report = report_of(folder)
    figures = known_figures(report)
    assert len(benchmarks) == 1, list(benchmarks)
    for name, measures in benchmarks.items():
        assert 0 < len(name) <= 1024 and measures, name
        evidence = report["run"]["exit_code"] == 0 and report["client"]["valid"]
        assert evidence != name.endswith("-bencher-ignore"), name
        assert (report["server"]["kind"] == "sim") == ("simulator" in name), name
        for measure, metric in measures.items():
            assert 0 < len(measure) <= 64, measure
            assert set(metric) <= {"value", "lower_value", "upper_value"}, metric
            assert all(isinstance(value, (int, float)) for value in metric.values()), metric
            same(metric["value"], figures[measure], measure)
            if "lower_value" in metric:
                assert metric["lower_value"] <= metric["value"] <= metric["upper_value"], metric


# grafana/k6, output/json/wrapper.go, and the page "JSON" of its manual.
def k6_json(path, folder):
    declared, samples, last = {}, {}, ""
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line, parse_constant=no_constants)
            data = entry["data"]
            if entry["type"] == "Metric":
                assert list(entry) == ["type", "data", "metric"], list(entry)
                assert list(data) == ["name", "type", "contains", "thresholds", "submetrics"], data
                assert data["type"] in ("counter", "gauge", "rate", "trend"), data
                assert data["contains"] in ("default", "time", "data"), data
                assert entry["metric"] == data["name"] not in declared, f"declared twice: {line}"
                declared[data["name"]] = data["type"]
                continue
            assert entry["type"] == "Point" and list(entry) == ["metric", "type", "data"], line
            assert list(data) == ["time", "value", "tags"], line
            datetime.fromisoformat(data["time"].replace("Z", "+00:00"))
            assert entry["metric"] in declared, f"{entry['metric']} before its declaration"
            tags = data["tags"] or {}
            assert all(isinstance(value, str) for value in tags.values()), line
            assert isinstance(data["value"], (int, float)), line
            samples.setdefault(entry["metric"], []).append(data["value"])
            last = max(last, data["time"])
    assert samples.keys() == declared.keys()
    rows = completed(folder)
    assert sum(samples["checks"]) == len(rows), "failed requests are no passed checks"
    assert len(samples["http_req_duration"]) == len(rows)
    ended = [r for r in rows_of(folder) if r["phase"] == "measured" and r["outcome"] in ("completed", "failed")]
    assert len(samples["http_reqs"]) == len(ended)
    assert declared["llamacpp_completion_tokens_total_counter"] == "counter"
    assert sum(samples["llamacpp_completion_tokens"]) == sum(r["completion_tokens"] for r in rows)


# Go's "Benchmark Data Format" and golang.org/x/perf/benchfmt: keys, units, and result lines.
def go_lines(path):
    keys, units, results = {}, {}, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("Benchmark"):
                name, iterations, *rest = line.split()
                assert re.fullmatch(r"Benchmark([^a-z\s]\S*)?", name), f"no name of a benchmark: {name}"
                assert int(iterations) > 0 and len(rest) % 2 == 0 and rest, line
                values = {unit: float(value) for value, unit in zip(rest[::2], rest[1::2])}
                assert len(values) * 2 == len(rest), f"a unit twice: {line}"
                results.append((name, dict(keys), int(iterations), values))
            elif line.startswith("Unit "):
                _, unit, *settings = line.split()
                assert units.setdefault(unit, settings) == settings, f"{unit} is declared twice"
            elif match := re.fullmatch(r"([a-z][^\sA-Z:]*):(?: (.*))?", line):
                keys[match[1]] = match[2] or ""
            else:
                assert line.startswith("#"), f"nothing that benchstat knows: {line}"
    return units, results


def go_bench(path, folder):
    units, results = go_lines(path)
    report = report_of(folder)
    evidence = report["run"]["exit_code"] == 0 and report["client"]["valid"]
    assert len(results) == (1 if evidence else 0), results
    figures = known_figures(report)
    for name, keys, iterations, values in results:
        assert iterations == report["requests"]["completed"], name
        for unit, value in values.items():
            same(value, figures[unit], unit)
            higher = unit.endswith("per_second") or "_per_second_" in unit
            assert units[unit] == [f"better={'higher' if higher else 'lower'}"], (unit, units[unit])
        assert (report["server"]["kind"] == "sim") == ("simulator" in keys["server"]), keys


def go_samples(path, golden):
    """Medians of a comparison's trials against what benchstat itself made of the same text."""
    _, results = go_lines(path)
    samples = {}
    for _, keys, _, values in results:
        for unit, value in values.items():
            samples.setdefault((unit, keys["side"]), []).append(value)
    with open(golden, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if not line.startswith("#")]
    found, unit = {}, None
    for line in lines:
        cells = line.split(",")
        if len(cells) > 1 and cells[0] == "" and cells[1] in {unit for unit, _ in samples}:
            unit = cells[1]
        elif cells[0] and unit and cells[0] != "geomean" and len(cells) > 3:
            found[(unit, "base")], found[(unit, "head")] = float(cells[1]), float(cells[3])
    assert found.keys() == samples.keys(), found.keys() ^ samples.keys()
    for key, value in found.items():
        assert math.isclose(value, statistics.median(samples[key]), rel_tol=1e-9), (key, value)


# llama-bench b11434: the fields that `-o jsonl` printed, in their order.
LLAMA_BENCH = (
    "build_commit build_number cpu_info gpu_info backends model_filename model_type model_size "
    "model_n_params n_batch n_ubatch n_threads cpu_mask cpu_strict poll type_k type_v n_gpu_layers "
    "n_cpu_moe split_mode main_gpu no_kv_offload flash_attn devices tensor_split tensor_buft_overrides "
    "load_mode lazy_mode embeddings no_op_offload no_host repack fit_target fit_min_ctx n_prompt n_gen "
    "n_depth test_time avg_ns stddev_ns avg_ts stddev_ts"
).split()


def llama_bench_jsonl(path, folder):
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line, parse_constant=no_constants) for line in file]
    requests = completed(folder)
    expected = {"pp": "prefill_tokens_per_second", "tg": "decode_tokens_per_second"}
    assert len(rows) == 2, "prefill and decode"
    for row in rows:
        assert list(row) == LLAMA_BENCH + ["samples_ns", "samples_ts"], list(row)
        kind = "pp" if row["n_prompt"] else "tg"
        assert (row["n_prompt"] == 0) != (row["n_gen"] == 0), row
        values = [r[expected[kind]] for r in requests if r[expected[kind]] is not None]
        assert row["samples_ts"] == values and len(row["samples_ns"]) == len(values)
        same(row["avg_ts"], statistics.mean(values), kind)
        same(row["stddev_ts"], statistics.stdev(values) if len(values) > 1 else None, kind)
        assert row["poll"] is None, "what nobody knows is null, not 0"
        datetime.fromisoformat(row["test_time"].replace("Z", "+00:00"))
        if report_of(folder)["server"]["kind"] == "sim":
            assert "simulator" in row["backends"]


def llama_bench_sql(path, folder, table=None):
    """Into an empty database, or into the table that llama-bench itself made (`table`)."""
    base = sqlite3.connect(":memory:")
    before = 0
    if table:
        with open(table, encoding="utf-8") as file:
            base.executescript(file.read())
        before = base.execute("SELECT count(*) FROM llama_bench").fetchone()[0]
        assert before > 0, "llama-bench wrote nothing"
    with open(path, encoding="utf-8") as file:
        base.executescript(file.read())
    base.row_factory = sqlite3.Row
    rows = base.execute("SELECT * FROM llama_bench").fetchall()[before:]
    assert len(rows) == 2, f"{len(rows)} rows"
    requests = completed(folder)
    for row in rows:
        assert list(row.keys()) == LLAMA_BENCH, list(row.keys())
        field = "prefill_tokens_per_second" if row["n_prompt"] else "decode_tokens_per_second"
        values = [r[field] for r in requests if r[field] is not None]
        assert isinstance(row["avg_ts"], float) and isinstance(row["avg_ns"], int), dict(row)
        same(row["avg_ts"], statistics.mean(values), field)
        assert row["poll"] is None, "what nobody knows is NULL, not 0"


# vllm-project/vllm, vllm/benchmarks/serve.py at def9ce85, with start_times of later versions.
VLLM = (
    "date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness "
    "max_concurrency duration completed failed total_input_tokens total_output_tokens request_throughput "
    "request_goodput output_throughput total_token_throughput input_lens output_lens ttfts itls start_times "
    "generated_texts errors max_output_tokens_per_s max_concurrent_requests"
).split() + [
    f"{statistic}_{name}_ms"
    for name in ("ttft", "tpot", "itl", "e2el")
    for statistic in ("mean", "median", "std", "p99")
]
OURS = ["tool", "run_id", "server", "simulator", "outcome"]


def vllm(path, folder):
    result = load(path)
    report = report_of(folder)
    missing = [name for name in VLLM if name not in result]
    more = [name for name in result if name not in VLLM + OURS]
    assert not missing and not more, (missing, more)
    datetime.strptime(result["date"], "%Y%m%d-%H%M%S")
    rows = [r for r in rows_of(folder) if r["phase"] == "measured" and r["written_s"] is not None]
    rows.sort(key=lambda r: r["written_s"])
    lists = "input_lens output_lens ttfts itls start_times generated_texts errors".split()
    for name in lists:
        assert len(result[name]) == len(rows), name
    good = [r for r in rows if r["outcome"] == "completed"]
    assert result["completed"] == len(good) and result["failed"] == report["requests"]["failed"]
    assert [error == "" for error in result["errors"]] == [r["outcome"] == "completed" for r in rows]
    for row, ttft in zip(rows, result["ttfts"]):
        same(ttft, None if row["ttft_ms"] is None else row["ttft_ms"] / 1e3, "ttft in seconds")
        assert row["outcome"] == "completed" or ttft is None, "a failed request has no ttft, and not 0"
    ttfts = [r["ttft_ms"] for r in good if r["ttft_ms"] is not None]
    if ttfts:
        same(result["mean_ttft_ms"], statistics.mean(ttfts), "mean_ttft_ms")
        same(result["median_ttft_ms"], statistics.median(ttfts), "median_ttft_ms")
    same(result["total_output_tokens"], sum(r["completion_tokens"] for r in good), "tokens")
    same(result["output_throughput"], report["rates"]["output_tokens_per_second"], "throughput")
    assert result["simulator"] == (report["server"]["kind"] == "sim")
    # What its timeline needs of each request (vllm/benchmarks/plot.py).
    for start, ttft, itl in zip(result["start_times"], result["ttfts"], result["itls"]):
        assert isinstance(start, float) and isinstance(itl, list) and (ttft is None or ttft > 0)


def jsonl(path, folder):
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    stored = rows_of(folder)
    assert len(rows) == len(stored)
    for row, old in zip(rows, stored):
        # An older row has fewer fields; what it did not know stays unknown.
        assert all(row[name] == value for name, value in old.items()), (row, old)
        assert not any(row[name] for name in row if name not in old), (row, old)


def main(what, *paths):
    globals()[what.replace("-", "_")](*paths)


main(*sys.argv[1:])
