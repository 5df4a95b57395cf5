#!/usr/bin/env python3
"""Figures of bench-ci about itself, against the simulator, whose truth is known.

    python3 ci/measure/measure.py accuracy   error of TTFT and ITL at 8, 64 and 256 users
    python3 ci/measure/measure.py cost       processor time per event beside a bare epoll reader
    python3 ci/measure/measure.py flat-out   events per second when reading as fast as possible
    python3 ci/measure/measure.py streams    2,000 concurrent streams of 20 tokens/s
    python3 ci/measure/measure.py startup    start to first request, and what a run adds around its load
    python3 ci/measure/measure.py rate       achieved rate and lateness of open loops up to 2,000 requests/s
    python3 ci/measure/measure.py soak       resident memory over 10 minutes with 64 users (or --minutes N)

Needs python3, a C compiler for the floor, and `cargo build --release`. Everything stays on
loopback and stops by itself. Shared machines are noisy: medians of --runs (five) are shown, and
ratios within one run are worth more than absolute figures.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "bench-ci"


def quantile(values, share):
    """Linear interpolation at share * (n - 1), as bench-ci does."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


class Run:
    """One run of bench-ci against the simulator that it starts, with the simulator's truth."""

    def __init__(self, folder, users, requests, tokens, ttft_ms, itl_ms, *more):
        out = folder / "out"
        truth = folder / "truth.jsonl"
        for stale in (out, truth):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
        command = [
            BINARY, "--server", "sim", "--parallel", users, "--n-prompts", requests,
            "--max-tokens", tokens, "--ignore-eos", "--max-prompt-tokens", 60, "--duration", "10m",
            "--out-dir", out, "--progress", "none", *more,
            "--", "--sim-ttft-ms", ttft_ms, "--sim-itl-ms", itl_ms, "--sim-truth", truth,
        ]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        self.exit = done.returncode
        self.report = json.loads((out / "report.json").read_text())
        rows = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
        measured = {row["index"] for row in rows if row["phase"] == "measured" and row["outcome"] == "completed"}
        self.events = sum(row["content_deltas"] for row in rows)
        self.ttft, self.itl = [], []
        for line in truth.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] != "request" or record.get("client_request") not in measured:
                continue
            deltas = record["deltas"]
            self.ttft.append((deltas[0] - record["received_ns"]) / 1e6)
            self.itl.extend((after - before) / 1e6 for before, after in zip(deltas, deltas[1:]))

    def error(self, metric, share):
        """Reported minus true quantile of the same run, in ms; None where it is not reported."""
        reported = self.report["metrics"][metric]["p%d" % round(share * 100)]
        truth = self.ttft if metric == "ttft_ms" else self.itl
        return None if reported is None else reported - quantile(truth, share)

    @property
    def cpu_us_per_event(self):
        return self.report["client"]["cpu_s"] / self.events * 1e6

    @property
    def peak_mb(self):
        return self.report["client"]["rss_peak_bytes"] / 1e6


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else float("nan")


def spread(values):
    values = [value for value in values if value is not None]
    return f"{median(values):.3f} ({min(values):.3f} … {max(values):.3f})" if values else "not reported"


def accuracy(folder, runs):
    print("error = reported − true quantile of the same run, ms: median (smallest … largest) of", runs, "runs")
    for users, requests in ((8, 200), (64, 256), (256, 640)):
        done = [Run(folder, users, requests, 100, 20, 10) for _ in range(runs)]
        print(f"{users} users, {requests} requests × 100 tokens, exit codes {sorted({run.exit for run in done})}")
        for metric in ("ttft_ms", "itl_ms"):
            for share in (0.5, 0.99):
                print(f"  {metric} p{share * 100:.0f}: {spread([run.error(metric, share) for run in done])}")


class Simulator:
    """The simulator alone, on a port of its own choice."""

    def __init__(self, *flags):
        command = [str(word) for word in (BINARY, "sim", "--port", 0, *flags)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on http://[^:]+:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        # It listens before it is ready, like a real one.
        while not self.is_healthy():
            time.sleep(0.01)
        # Its log goes on and must not fill the pipe.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def is_healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.drain.wait()


def floor(folder, port, users, requests, tokens):
    binary = folder / "floor"
    if not binary.exists():
        subprocess.run(["cc", "-O2", "-o", binary, pathlib.Path(__file__).parent / "floor.c"], check=True)
    command = [str(word) for word in (binary, port, users, requests, tokens)]
    events, wall, cpu, peak_kib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(events), float(wall), float(cpu), int(peak_kib)


def ours(folder, port, users, requests, tokens):
    """bench-ci against a server that runs already: events, seconds of load, processor seconds of the whole process."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        BINARY, "--url", f"http://127.0.0.1:{port}", "--users", users, "--n-prompts", requests, "--max-tokens", tokens,
        "--ignore-eos", "--max-prompt-tokens", 60, "--warm-up", 0, "--duration", "10m", "--scenario", SCENARIO(folder),
        "--out-dir", out, "--progress", "none",
    ]
    before = os.times()
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    report = json.loads((out / "report.json").read_text())
    rows = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    events = sum(row["content_deltas"] for row in rows)
    begin = min(row["written_s"] for row in rows)
    end = max(row["end_s"] for row in rows)
    return events, end - begin, cpu, report["client"]["cpu_s"], report["client"]["rss_peak_bytes"]


def SCENARIO(folder):
    """`chat` without its pause, so that both clients keep every user busy."""
    path = folder / "busy.toml"
    text = (ROOT / "scenarios" / "chat.toml").read_text()
    path.write_text(text.replace('think_time = "300ms"', 'think_time = "0s"'))
    return path


def cost(folder, runs):
    print("processor time per event, µs; whole process, and its load thread alone; the floor in the same minute")
    for users, requests in ((64, 256), (256, 640)):
        ratios, shares = [], []
        with Simulator("--parallel", users, "--sim-ttft-ms", 20, "--sim-itl-ms", 10) as simulator:
            for _ in range(runs):
                events, _, cpu, _ = floor(folder, simulator.port, users, requests, 100)
                floor_us = cpu / events * 1e6
                events, _, cpu, thread, _ = ours(folder, simulator.port, users, requests, 100)
                ratios.append(cpu / events * 1e6 / floor_us)
                shares.append(thread / events * 1e6 / floor_us)
        print(f"{users} users: whole process {spread(ratios)} × floor, load thread {spread(shares)} × floor")
        print(f"  last run: floor {floor_us:.2f} µs, ours {cpu / events * 1e6:.2f} µs, load thread {thread / events * 1e6:.2f} µs")


def flat_out(folder, runs):
    print("events per second, 8 users × 2,000 tokens as fast as they come")
    ratios = []
    with Simulator("--parallel", 8, "--sim-ttft-ms", 0, "--sim-itl-ms", 0) as simulator:
        for _ in range(runs):
            events, wall, cpu, _ = floor(folder, simulator.port, 8, 400, 2000)
            floor_rate, floor_cpu = events / wall, cpu / events * 1e6
            events, wall, _, thread, _ = ours(folder, simulator.port, 8, 400, 2000)
            ratios.append(events / wall / floor_rate)
    print(f"ours / floor: {spread(ratios)}")
    print(f"  last run: floor {floor_rate:,.0f}/s ({floor_cpu:.2f} µs of processor each), ours {events / wall:,.0f}/s ({thread / events * 1e6:.2f} µs)")


def streams(folder, runs):
    for _ in range(min(runs, 3)):
        run = Run(folder, 2000, 2000, 100, 50, 50, "--warm-up", 0)
        requests = run.report["requests"]
        print(
            f"2,000 streams × 20 tokens/s: exit {run.exit}, {requests['completed']} completed, {requests['failed']} failed, "
            f"peak {run.peak_mb:.1f} MB, {run.cpu_us_per_event:.2f} µs an event, "
            f"ITL p99 error {run.error('itl_ms', 0.99):.3f} ms"
        )


def startup(folder, runs):
    """From the start of the process to the first byte of its first request, as the server received it."""
    truth = folder / "truth.jsonl"
    before, after = [], []
    with Simulator("--parallel", 4, "--sim-ttft-ms", 5, "--sim-itl-ms", 1, "--metrics", "--sim-truth", truth) as simulator:
        for _ in range(runs):
            known = len(truth.read_text().splitlines()) if truth.exists() else 0
            began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            subprocess.run(
                [BINARY, "--url", f"http://127.0.0.1:{simulator.port}", "--n-prompts", "4", "--max-tokens", "4",
                 "--out-dir", folder / "out", "--progress", "none"],
                stdout=subprocess.DEVNULL, check=True,
            )
            ended = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            records = [json.loads(line) for line in truth.read_text().splitlines()[known:]]
            records = [record for record in records if record["kind"] == "request"]
            before.append((min(record["received_ns"] for record in records) - began) / 1e6)
            after.append((ended - max(record["end_ns"] for record in records)) / 1e6)
    print(f"start to first request, server already up: {spread(before)} ms")
    print(f"last answer to end of process, all files written: {spread(after)} ms")


def rate(folder, runs):
    """Sent over planned requests per second of open loops, and how late they were sent."""
    print("open loop, 10 s, short answers: achieved / planned − 1 in %, lateness p99 in µs")
    for process in ("constant", "poisson", "gamma:0.5"):
        for wanted in (100, 500, 1000, 2000):
            errors, lateness, dropped = [], [], 0
            for _ in range(runs):
                out = folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                command = [
                    BINARY, "--server", "sim", "--parallel", 512, "--rate", wanted, "--arrivals", process, "--duration", "10s",
                    "--max-tokens", 2, "--ignore-eos", "--max-prompt-tokens", 60, "--warm-up", 0, "--accept-saturated-client",
                    "--out-dir", out, "--progress", "none", "--", "--sim-ttft-ms", 5, "--sim-itl-ms", 1,
                ]
                subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
                client = json.loads((out / "report.json").read_text())["client"]
                arrivals = client["arrivals"]
                errors.append((arrivals["achieved_per_second"] / arrivals["planned_per_second"] - 1) * 100)
                lateness.append(client["dispatch_lateness_us"]["p99"])
                dropped += arrivals["dropped"]
            print(f"{process} {wanted}/s: {spread(errors)} %, lateness p99 {spread(lateness)} µs, {dropped} dropped")


def soak(folder, minutes):
    """Resident memory of bench-ci while 64 users chat."""
    command = [
        BINARY, "--server", "sim", "--parallel", 64, "--duration", f"{minutes}m", "--max-tokens", 64, "--max-prompt-tokens", 60,
        "--out-dir", folder / "out", "--progress", "none", "--", "--sim-ttft-ms", 20, "--sim-itl-ms", 10,
    ]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    began, samples = time.monotonic(), []
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmRSS:\s+(\d+) kB", status)
            if found:
                samples.append((time.monotonic() - began, int(found.group(1)) / 1024))
        except OSError:
            pass
        time.sleep(1)
    report = json.loads((folder / "out" / "report.json").read_text())
    # The last seconds belong to the report, which reads the records back.
    load = [(at, mib) for at, mib in samples if at < minutes * 60]
    for mark in sorted({1, 2, minutes // 2, minutes - 1} - {0}):
        near = min(load, key=lambda sample: abs(sample[0] - mark * 60))
        print(f"after {mark} min: {near[1]:.1f} MiB")
    first = [mib for at, mib in load if 60 <= at < 90]
    last = [mib for at, mib in load if at >= minutes * 60 - 30]
    if first and last:
        print(f"growth from minute 1 to the end: {statistics.mean(last) - statistics.mean(first):+.2f} MiB")
    print(f"peak, report included: {max(mib for _, mib in samples):.1f} MiB")
    print(f"exit {process.returncode}, {report['requests']['completed']} requests completed, {report['requests']['failed']} failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "cost", "flat-out", "streams", "startup", "rate", "soak"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=10)
    arguments = parser.parse_args()
    if not BINARY.exists():
        raise SystemExit(f"measure.py: no {BINARY.relative_to(ROOT)}: run `cargo build --release` first")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if arguments.what == "soak":
            soak(folder, arguments.minutes)
        else:
            globals()[arguments.what.replace("-", "_")](folder, arguments.runs)


if __name__ == "__main__":
    main()
