#!/usr/bin/env python3
"""Plays `bench-ci ab` many times with a known difference and tells how often it was right.

    cargo build --release
    python3 ci/ab/prove.py --server PATH/llama-server            the real server, synthetic 15m model
    python3 ci/ab/prove.py --sim                                 the simulator at 0, 1, 2 and 5 %
    python3 ci/ab/prove.py --server PATH --cases aa:10,3:10,10:5 --budget 3m --log FILE
    python3 ci/ab/prove.py --server PATH --restart               one server at a time, for comparison

A case is SLOWDOWN:SESSIONS; `aa` is the same server twice, by --aa. The real server is slowed by slow.c, a preload
that busy-waits a share of each graph computation's own time; the simulator by its own flag. Each session
is one line of JSON in the log, so that an interrupted proof keeps what it has. Ends with 1 where a
session did not run at all; what the figures prove is for the reader.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def sessions_of(text):
    for case in text.split(","):
        percent, _, count = case.partition(":")
        yield (0.0 if percent == "aa" else float(percent)), int(count or 1)


def command(options, percent, out, slow):
    line = [str(options.bench_ci), "ab", "--out-dir", str(out), "--progress", "none",
            "--budget", options.budget, "--users", str(options.users), "--parallel", str(options.users)]
    if options.restart:
        line.append("--restart-mode")
    if percent == 0:
        line.append("--aa")
    if options.sim:
        line += ["--server", "sim"]
    else:
        line += ["--server", options.server, "--model", options.model]
    if percent and options.sim:
        line += ["--base-args", "--sim-slowdown 0",
                 "--head-args", f"--sim-slowdown {percent}"]
    elif percent:
        # Both sides are preloaded: only the busy wait differs.
        for side, share in (("base", 0.0), ("head", percent)):
            line += [f"--{side}-env", f"LD_PRELOAD={slow}", f"--{side}-env", f"SLOW_PERCENT={share}"]
    if not options.sim:
        line += ["--", *options.server_args.split()]
    return line


def play(options, percent, number, slow):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        begun = time.monotonic()
        done = subprocess.run(command(options, percent, out, slow), capture_output=True, text=True)
        took = time.monotonic() - begun
        found = {"slow_down_pct": percent, "session": number, "exit": done.returncode, "took_s": round(took, 1),
                 "load": os.getloadavg()[0]}
        try:
            report = json.loads((out / "ab.json").read_text())
        except OSError:
            return {**found, "verdict": "none", "stderr": done.stderr[-2000:]}
        rate = next(c for c in report["comparisons"] if c["metric"] == "output_tokens_per_second")
        # The same scale as the injected one: how much longer the work takes.
        slower = lambda pct: round(100 * (100 / (100 + pct) - 1), 3) if pct is not None else None
        interval = rate["ci_pct"] and sorted(slower(end) for end in rate["ci_pct"])
        return {**found, "verdict": report["verdict"], "pairs": report["design"]["pairs_used"],
                "stopped_at": report["design"]["stopped_at"], "stopped_because": report["design"]["stopped_because"],
                "estimate_pct": slower(rate["change_pct"]), "ci_pct": interval,
                "resolution_pct": rate["resolution_pct"], "slice_pairs": report["design"]["slice_pairs"],
                "tokens": report["design"]["tokens_per_request"],
                "spoilt": sum(1 for t in report["trials"] if not t["valid"]) // 2,
                "verdicts": {c["metric"]: c["verdict"] for c in report["comparisons"] if c["role"] == "gate"},
                "reason": report["reasons"][:1]}


def table(lines):
    print(f"\n{'slow-down':>9} {'n':>3} {'regressed':>9} {'improved':>8} {'no-regr.':>8} {'inconcl.':>8} {'invalid':>7} "
          f"{'estimate':>9} {'median ±':>9} {'pairs':>6} {'longest':>8}")
    for percent in sorted({line["slow_down_pct"] for line in lines}):
        of_case = [line for line in lines if line["slow_down_pct"] == percent]
        count = lambda verdict: sum(1 for line in of_case if line["verdict"] == verdict)
        values = lambda key: [line[key] for line in of_case if line.get(key) is not None]
        mean = lambda numbers: f"{statistics.mean(numbers):+.2f} %" if numbers else "-"
        median = lambda numbers: f"{statistics.median(numbers):.2f} %" if numbers else "-"
        print(f"{percent:>7.1f} % {len(of_case):>3} {count('regressed'):>9} {count('improved'):>8} "
              f"{count('no-regression'):>8} {count('inconclusive'):>8} {count('invalid'):>7} "
              f"{mean(values('estimate_pct')):>9} {median(values('resolution_pct')):>9} "
              f"{statistics.mean(values('pairs') or [0]):>6.1f} {max(values('took_s')):>6.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench-ci", type=pathlib.Path, default=REPOSITORY / "target/release/bench-ci")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--server", help="a real llama-server")
    which.add_argument("--sim", action="store_true", help="the simulator")
    parser.add_argument("--model", default="synthetic:15m")
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--server-args", default="--ctx-size 8192")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--cases", help="SLOWDOWN:SESSIONS,... [default: aa:10,3:10,10:5, of --sim aa:5,1:5,2:5,5:5]")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--log", type=pathlib.Path, help="where the lines of JSON are added")
    options = parser.parse_args()
    cases = options.cases or ("aa:5,1:5,2:5,5:5" if options.sim else "aa:10,3:10,10:5")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        slow = pathlib.Path(folder) / "slow.so"
        if not options.sim:
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", slow, HERE / "slow.c", "-ldl"], check=True)
        for percent, count in sessions_of(cases):
            for number in range(count):
                line = play(options, percent, number, slow)
                lines.append(line)
                print(json.dumps(line), flush=True)
                if options.log:
                    with options.log.open("a") as log:
                        log.write(json.dumps(line) + "\n")
    table(lines)
    return 1 if any(line["verdict"] == "none" for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
