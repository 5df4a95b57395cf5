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
# How bench-ci leaves where no load keeps the objectives.
NOTHING_FOUND = 99
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
    if done.returncode not in (0, NOTHING_FOUND):
        sys.exit(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads((folder / "bench-out" / "suite.json").read_text())["search"]


def judged(found: dict, truth: float) -> tuple[str, bool]:
    """What was found, in words, and whether it is near the truth; nothing found is a miss."""
    if found["value"] is None:
        return f"nothing found: {'; '.join(found['reasons'])}", False
    error = found["value"] / truth - 1
    interval = found["interval"] and [round(end, 2) for end in found["interval"]]
    return f"{found['value']:.2f} ({error:+.1%}), interval {interval}", abs(error) <= 0.05


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
                words, hit = judged(found, truth)
                missed += not hit
                trials = sum(len(point["trials"]) for point in found["points"])
                print(f"run {run}: {words}, {trials} trials, {time.monotonic() - begun:.0f} s")
    plays = runs * len(SEARCHES)
    print(f"{plays - missed} of {plays} within 5 %")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
