#!/usr/bin/env python3
"""Does the search find a capacity that is known?

The simulator has SLOTS slots and holds each for a fixed time, so it bears SLOTS / time requests per
second, evenly spaced, and not one more; and SLOTS users are the knee, from which more of them bring
nothing. Each search is played RUNS times; each value must be within 5 % of that. Needs a built
bench-ci: search.py [PATH] [RUNS].
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

SLOTS, TOKENS, TTFT_MS, ITL_MS = 4, 16, 20.0, 5.0
CAPACITY = SLOTS / ((TTFT_MS + (TOKENS - 1) * ITL_MS) / 1e3)
COMMON = f"""
warm_up_requests_per_user = 1
[request]
max_tokens = {TOKENS}
ignore_eos = true
"""
# What is searched for: its scenario, its flags, its unit and the truth.
SEARCHES = {
    "goodput": (
        'duration = "4s"\narrivals = { process = "constant", rate = 1 }',
        # TTFT begins at the writing: what the client is late is not in it, and a busy machine ends no search.
        ["--search", "rate", "--search-from", "16", "--objective", "ttft_ms < 60", "--arrival-lateness-floor", "10ms"],
        "requests/s",
        CAPACITY,
    ),
    "knee": ('duration = "2s"\nthink_time = "0ms"', ["--search", "users", "--search-from", "1"], "users", SLOTS),
}


def search(binary: str, scenario: str, flags: list[str], folder: pathlib.Path) -> dict:
    (folder / "capacity.toml").write_text(f'name = "capacity"\n{scenario}\n{COMMON}')
    command = [binary, "--server", "sim", "--parallel", str(SLOTS), "--scenario", "capacity.toml"]
    command += [*flags, "--progress", "none"]
    command += ["--", "--sim-ttft-ms", str(TTFT_MS), "--sim-itl-ms", str(ITL_MS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads((folder / "bench-out" / "suite.json").read_text())["search"]


def main() -> int:
    binary = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/bench-ci").resolve())
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    missed = 0
    for name, (scenario, flags, unit, truth) in SEARCHES.items():
        print(f"{name}: the truth is {truth:.2f} {unit}")
        for run in range(1, runs + 1):
            with tempfile.TemporaryDirectory() as folder:
                begun = time.monotonic()
                found = search(binary, scenario, flags, pathlib.Path(folder))
                error = found["value"] / truth - 1
                missed += abs(error) > 0.05
                trials = sum(len(point["trials"]) for point in found["points"])
                interval = found["interval"] and [round(end, 2) for end in found["interval"]]
                print(
                    f"run {run}: {found['value']:.2f} ({error:+.1%}), interval {interval}, "
                    f"{trials} trials, {time.monotonic() - begun:.0f} s"
                )
    plays = runs * len(SEARCHES)
    print(f"{plays - missed} of {plays} within 5 %")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
