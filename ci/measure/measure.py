#!/usr/bin/env python3
"""Figures of bench-ci about itself, against the simulator, whose truth is known.

    python3 ci/measure/measure.py accuracy   error of TTFT and ITL at 8, 64 and 256 users
    python3 ci/measure/measure.py cost       processor time per event beside a bare epoll reader
    python3 ci/measure/measure.py hyper      the same work by hyper's client, beside our load thread
    python3 ci/measure/measure.py flat-out   events per second when reading as fast as possible
    python3 ci/measure/measure.py streams    2,000 concurrent streams of 20 tokens/s
    python3 ci/measure/measure.py startup    start to first request, and what a run adds around its load
    python3 ci/measure/measure.py rate       achieved rate and lateness of open loops up to 2,000 requests/s
    python3 ci/measure/measure.py hog        what a busy client does to ITL, with kernel stamps and without
    python3 ci/measure/measure.py sampling   what sampling at 1 s costs, and whether it moves TTFT p99
    python3 ci/measure/measure.py all        all of the above, and one table of figures beside their aims
    python3 ci/measure/measure.py soak       resident memory over 10 minutes with 64 users (or --minutes N)

Exits 1 if a figure misses its aim. Needs python3, a C compiler for the floor, and `cargo build --release`
(or BENCH_CI_MEASURED, another binary). Everything stays on
loopback and stops by itself. Shared machines are noisy: medians of --runs (five) are shown, and
ratios within one run are worth more than absolute figures.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BENCH_CI_MEASURED", ROOT / "target" / "release" / "bench-ci"))


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


class Table:
    """Figures beside their aims; every one that has an aim is a row."""

    def __init__(self):
        self.rows = []

    def add(self, what, values, aim, unit, at_least=False):
        """The median of the values is to be at most (or at least) the aim."""
        found = median(values)
        kept = found >= aim if at_least else found <= aim
        self.rows.append((what, found, "≥" if at_least else "≤", aim, unit, kept))

    def show(self):
        if not self.rows:
            return True
        width = max(len(row[0]) for row in self.rows)
        print()
        for what, found, sign, aim, unit, kept in self.rows:
            print(f"{what:<{width}}  {found:>10.4g} {unit:<8} aim {sign} {aim:g}  {'kept' if kept else 'MISSED'}")
        return all(row[-1] for row in self.rows)


TABLE = Table()


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
                errors = [run.error(metric, share) for run in done]
                print(f"  {metric} p{share * 100:.0f}: {spread(errors)}")
                aims = {("ttft_ms", 0.5): 0.3, ("ttft_ms", 0.99): 1, ("itl_ms", 0.99): 0.3}
                if users == 256 and (metric, share) in aims:
                    sizes = [abs(error) for error in errors if error is not None]
                    TABLE.add(f"{metric} p{share * 100:.0f} error, {users} users", sizes, aims[metric, share], "ms")
        if users == 256:
            print(f"  peak memory: {spread([run.peak_mb for run in done])} MB")
            TABLE.add("peak memory, 256 users", [run.peak_mb for run in done], 24, "MB")


def pinned(processor):
    """For a child that is to run on this processor alone; None for one that may run anywhere."""
    return None if processor is None else lambda: os.sched_setaffinity(0, {processor})


class Simulator:
    """The simulator alone, on a port of its own choice; on one processor where that is named."""

    def __init__(self, *flags, processor=None):
        command = [str(word) for word in (BINARY, "sim", "--port", 0, *flags)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=pinned(processor))
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
    return counted(binary, port, users, requests, tokens)


def counted(binary, port, users, requests, tokens):
    """What a client that only counts says of itself: events, wall seconds, processor seconds, peak KiB."""
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
        # Reading flat out leaves no time to be punctual; that is not what is asked here.
        "--out-dir", out, "--progress", "none", "--accept-saturated-client",
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
    # Long enough that the start of the process, some 10 ms, is little of it.
    for users, requests in ((64, 640), (256, 2560)):
        ratios, shares = [], []
        with Simulator("--parallel", users, "--sim-ttft-ms", 20, "--sim-itl-ms", 10) as simulator:
            for _ in range(runs):
                events, _, cpu, _ = floor(folder, simulator.port, users, requests, 100)
                floor_us = cpu / events * 1e6
                events, _, cpu, thread, _ = ours(folder, simulator.port, users, requests, 100)
                ratios.append(cpu / events * 1e6 / floor_us)
                shares.append(thread / events * 1e6 / floor_us)
        TABLE.add(f"processor time per event, {users} users", ratios, 1.5, "× floor")
        print(f"{users} users: whole process {spread(ratios)} × floor, load thread {spread(shares)} × floor")
        print(f"  last run: floor {floor_us:.2f} µs, ours {cpu / events * 1e6:.2f} µs, load thread {thread / events * 1e6:.2f} µs")


def hyper(folder, runs):
    """Why HTTP/1.1 is spoken by our own code."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "hyper"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    print("processor time per event, × floor: hyper's client, which reads no event, and our load thread, which does")
    for users, requests in ((64, 640), (256, 2560)):
        theirs, own = [], []
        with Simulator("--parallel", users, "--sim-ttft-ms", 20, "--sim-itl-ms", 10) as simulator:
            for _ in range(runs):
                events, _, cpu, _ = floor(folder, simulator.port, users, requests, 100)
                floor_us = cpu / events * 1e6
                binary = target / "release" / "examples" / "hyper"
                events, _, cpu, _ = counted(binary, simulator.port, users, requests, 100)
                theirs.append(cpu / events * 1e6 / floor_us)
                events, _, _, thread, _ = ours(folder, simulator.port, users, requests, 100)
                own.append(thread / events * 1e6 / floor_us)
        print(f"{users} users: hyper {spread(theirs)}, ours {spread(own)}")


def flat_out(folder, runs):
    print("events per second, 8 users × 2,000 tokens as fast as they come")
    ratios = []
    with Simulator("--parallel", 8, "--sim-ttft-ms", 0, "--sim-itl-ms", 0) as simulator:
        for _ in range(runs):
            events, wall, cpu, _ = floor(folder, simulator.port, 8, 800, 2000)
            floor_rate, floor_cpu = events / wall, cpu / events * 1e6
            events, wall, _, thread, _ = ours(folder, simulator.port, 8, 800, 2000)
            ratios.append(events / wall / floor_rate)
    TABLE.add("events per second, flat out", ratios, 0.5, "× floor", at_least=True)
    print(f"ours / floor: {spread(ratios)}")
    print(f"  last run: floor {floor_rate:,.0f}/s ({floor_cpu:.2f} µs of processor each), ours {events / wall:,.0f}/s ({thread / events * 1e6:.2f} µs)")


def streams(folder, runs):
    peaks, losses = [], []
    for _ in range(runs):
        run = Run(folder, 2000, 2000, 100, 50, 50, "--warm-up", 0)
        requests = run.report["requests"]
        peaks.append(run.peak_mb)
        # A run that is no evidence has lost all of its streams.
        losses.append(2000 - requests["completed"] if run.exit == 0 else 2000)
        print(
            f"2,000 streams × 20 tokens/s: exit {run.exit}, {requests['completed']} completed, {requests['failed']} failed, "
            f"peak {run.peak_mb:.1f} MB, {run.cpu_us_per_event:.2f} µs an event, "
            f"ITL p99 error {run.error('itl_ms', 0.99):.3f} ms"
        )
    TABLE.add("peak memory, 2,000 streams", peaks, 100, "MB")
    TABLE.add("streams lost of 2,000, or in an invalid run", losses, 0, "")


def startup(folder, runs):
    """What a run adds: before its first request where the server is up, and around a server of its own."""
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
    TABLE.add("start to first request", before, 30, "ms")
    print(f"start to first request, server already up: {spread(before)} ms")
    print(f"last answer to end of process, all files written: {spread(after)} ms")
    TABLE.add("added to start of server and load", around(folder, runs, "sim"), 150, "ms")
    real = os.environ.get("LLAMA_SERVER_BIN_PATH")
    if real:
        # Its own end is in it too, which no client can hurry.
        added = around(folder, runs, real, "--model", "synthetic")
        print(f"added to start of {real} and load, its stop included: {spread(added)} ms")


def around(folder, runs, *server):
    """Milliseconds of whole runs with a server of their own, without its start and without the load."""
    added = []
    for _ in range(runs):
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        subprocess.run(
            [BINARY, "--server", *server, "--n-prompts", "4", "--max-tokens", "4", "--warm-up", "0", "--out-dir", out,
             "--progress", "none", "--max-lateness", "1", "--max-client-delay", "1"],
            stdout=subprocess.DEVNULL, check=True,
        )
        whole = time.monotonic() - began
        report = json.loads((out / "report.json").read_text())
        added.append((whole - report["server"]["start_s"] - report["rates"]["window"]["duration_s"]) * 1e3)
    return added


def rate(folder, runs):
    """Sent over planned requests per second of open loops, and how late they were sent."""
    print("open loop, 10 s, short answers: achieved / planned − 1 in %, worst second in requests, lateness p99 in µs")
    for process in ("constant", "poisson", "gamma:0.5"):
        for wanted in (100, 500, 1000, 2000):
            errors, worst, lateness, dropped, exits = [], [], [], 0, set()
            for _ in range(runs):
                out = folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                command = [
                    BINARY, "--server", "sim", "--parallel", 512, "--rate", wanted, "--arrivals", process, "--duration", "10s",
                    "--max-tokens", 2, "--ignore-eos", "--max-prompt-tokens", 60, "--warm-up", 0, "--accept-saturated-client",
                    "--out-dir", out, "--progress", "none", "--", "--sim-ttft-ms", 5, "--sim-itl-ms", 1,
                ]
                done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
                # 5: the machine held the run up, which the figures are to show.
                if done.returncode not in (0, 5):
                    raise SystemExit(f"measure.py: {shlex.join(map(str, command))} exited with {done.returncode}: {done.stderr}")
                exits.add(done.returncode)
                client = json.loads((out / "report.json").read_text())["client"]
                arrivals = client["arrivals"]
                errors.append((arrivals["achieved_per_second"] / arrivals["planned_per_second"] - 1) * 100)
                worst.append(worst_second(out / "requests.jsonl"))
                lateness.append(client["dispatch_lateness_us"]["p99"])
                dropped += arrivals["dropped"]
            print(
                f"{process} {wanted}/s: {spread(errors)} %, worst second {spread(worst)} requests, "
                f"lateness p99 {spread(lateness)} µs, {dropped} dropped, exit codes {sorted(exits)}"
            )
            TABLE.add(f"rate error, {process} {wanted}/s", [abs(error) for error in errors], 0.5, "%")
            # A request that is planned for the end of a second may be sent in the next one.
            TABLE.add(f"worst second, {process} {wanted}/s", worst, 1 + wanted / 100, "requests")
            if wanted <= 500:
                TABLE.add(f"lateness p99, {process} {wanted}/s", lateness, 100, "µs")


def worst_second(path):
    """The largest difference between the requests planned for a second and those sent in it."""
    planned, sent = collections.Counter(), collections.Counter()
    for line in path.read_text().splitlines():
        row = json.loads(line)
        planned[int(row["planned_s"])] += 1
        if row["written_s"] is not None:
            sent[int(row["written_s"])] += 1
    return max(abs(planned[second] - sent[second]) for second in planned | sent)


def hog(folder, runs):
    """ITL as reported and as it was, with a process that never sleeps on the client's processor."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("measure.py: hog needs two processors, one of them for the server")
    server, client = processors[:2]
    truth, out = folder / "truth.jsonl", folder / "out"
    print("8 users, ITL p99 reported − true of the same run, ms, client and hog on one processor, server on another")
    errors = {}
    for clock in ("auto", "user"):
        for busy in (False, True):
            found, sources = [], set()
            for _ in range(runs):
                truth.unlink(missing_ok=True)
                shutil.rmtree(out, ignore_errors=True)
                flags = ("--parallel", 8, "--sim-ttft-ms", 20, "--sim-itl-ms", 10, "--sim-truth", truth)
                with Simulator(*flags, processor=server) as simulator:
                    command = [
                        BINARY, "--url", f"http://127.0.0.1:{simulator.port}", "--users", 8, "--n-prompts", 80, "--max-tokens", 100,
                        "--ignore-eos", "--max-prompt-tokens", 60, "--warm-up", 0, "--duration", "10m", "--scenario", SCENARIO(folder),
                        "--clock", clock, "--out-dir", out, "--progress", "none", "--accept-saturated-client",
                    ]
                    spinner = [sys.executable, "-c", "while True: pass"]
                    other = subprocess.Popen(spinner, preexec_fn=pinned(client)) if busy else None
                    try:
                        subprocess.run(
                            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            check=True, preexec_fn=pinned(client),
                        )
                    finally:
                        if other:
                            other.kill()
                            other.wait()
                gaps = []
                for line in truth.read_text().splitlines():
                    record = json.loads(line)
                    if record["kind"] == "request":
                        gaps.extend((after - before) / 1e6 for before, after in zip(record["deltas"], record["deltas"][1:]))
                report = json.loads((out / "report.json").read_text())
                sources.add(report["client"]["clock_source"])
                found.append(report["metrics"]["itl_ms"]["p99"] - quantile(gaps, 0.99))
            errors[clock, busy] = found
            print(f"clock {clock} (report says {', '.join(sorted(sources))}), {'with hog' if busy else 'idle'}: {spread(found)}")
    moved = {clock: abs(median(errors[clock, True]) - median(errors[clock, False])) for clock in ("auto", "user")}
    print(f"moved by the hog: {moved['auto']:.3f} ms with kernel stamps, {moved['user']:.3f} ms with our own clock")
    TABLE.add("ITL p99 moved by a hog, kernel stamps", [moved["auto"]], 0.3, "ms")
    TABLE.add("the same with our own clock, over kernel stamps", [moved["user"] - moved["auto"]], 0, "ms", at_least=True)


def sampling(folder, runs):
    """The same load in turns, sampled every second and only before and after it."""
    print("64 users, 20 ms to the first token, 10 ms between tokens; in turns, sampled every second and not at all")
    runs = max(runs, 3)  # the noise of fewer is no noise
    shares, p99 = [], {"1s": [], "1h": []}
    for _ in range(runs):
        for interval in p99:
            run = Run(folder, 64, 1280, 60, 20, 10, "--scrape-interval", interval)
            p99[interval].append(run.report["metrics"]["ttft_ms"]["p99"])
            if interval == "1s":
                columns = run.report["timeline"]["resources"]
                seconds = run.report["rates"]["window"]["duration_s"]
                shares.append(run.report["client"]["sampling_cpu_s"] / seconds * 100)
                print(f"  {columns['samples']} samples in {seconds:.1f} s: {shares[-1]:.3f} % of a core")
    sampled, alone = p99["1s"], p99["1h"]
    moved, noise = median(sampled) - median(alone), max(alone) - min(alone)
    TABLE.add("processor time of sampling at 1 s", shares, 0.5, "% core")
    TABLE.add("TTFT p99 moved by sampling, over the noise", [abs(moved) / max(noise, 1e-6)], 1, "×")
    print(f"TTFT p99 with {spread(sampled)} ms, without {spread(alone)} ms: moved by {moved:+.3f}, noise {noise:.3f}")


def soak(folder, minutes):
    """Resident memory of bench-ci while 64 users chat."""
    if minutes < 3:
        raise SystemExit("measure.py: a soak takes at least 3 minutes, the first of which does not count")
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
    requests = report["requests"]
    # The last seconds belong to the report, which reads the records back.
    load = [(at, mib) for at, mib in samples if 60 <= at < minutes * 60]
    for mark in sorted({1, 2, minutes // 2, minutes - 1}):
        near = min(load, key=lambda sample: abs(sample[0] - mark * 60))
        print(f"after {mark} min: {near[1]:.1f} MiB")
    first = [mib for at, mib in load if at < 90]
    last = [mib for at, mib in load if at >= minutes * 60 - 30]
    growth = statistics.mean(last) - statistics.mean(first)
    # The slope by least squares sees a leak that the two ends, with their noise, may not.
    mean_at, mean_mib = (statistics.mean(column) for column in zip(*load))
    slope = sum((at - mean_at) * (mib - mean_mib) for at, mib in load) / sum((at - mean_at) ** 2 for at, _ in load)
    peak = max(mib for _, mib in samples)
    print(f"growth from minute 1 to the end: {growth:+.2f} MiB, slope {slope * 3600:+.2f} MiB an hour")
    added = (peak - statistics.mean(last)) * 2**20 / max(requests["planned"], 1)
    print(f"peak, report included: {peak:.1f} MiB, {added:.0f} bytes a request above the load")
    print(f"exit {process.returncode}, {requests['completed']} requests completed, {requests['failed']} failed")
    TABLE.add("soak: growth after the first minute", [abs(growth)], 1, "MiB")
    TABLE.add("soak: failed requests, or an exit code", [requests["failed"] + process.returncode], 0, "")
    flat = abs(growth) <= 1 and process.returncode == 0
    print(f"verdict: resident memory {'is flat' if flat else 'is NOT flat'} after the first minute of {minutes}")


def everything(folder, runs):
    """Every figure but the soak, which takes its own time."""
    for figure in (startup, accuracy, cost, flat_out, streams, rate, hog, sampling):
        print(f"--- {figure.__name__.replace('_', '-')}")
        figure(folder, runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "cost", "hyper", "flat-out", "streams", "startup", "rate", "hog", "sampling", "all", "soak"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=10)
    arguments = parser.parse_args()
    if not BINARY.exists():
        raise SystemExit(f"measure.py: no {BINARY}: run `cargo build --release` first")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if arguments.what == "soak":
            soak(folder, arguments.minutes)
        elif arguments.what == "all":
            everything(folder, arguments.runs)
        else:
            globals()[arguments.what.replace("-", "_")](folder, arguments.runs)
    if not TABLE.show():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
