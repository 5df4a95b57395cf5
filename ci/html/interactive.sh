#!/bin/sh
# How long report.html takes from the begin of loading until it can be used, in a real Chromium:
#   ci/html/interactive.sh bench-out/report.html [TIMES]
# A figure to look at, not a test: no test asserts a speed. More than 1000 ms is too slow.
set -eu
page=$(realpath "$1")
browser=${BENCH_CI_TEST_CHROMIUM:-chromium}
for _ in $(seq "${2:-5}"); do
  profile=$(mktemp -d)
  "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$profile" \
    --dump-dom "file://$page" 2>/dev/null |
    sed -n 's/.*data-interactive-ms="\([0-9]*\)".*/\1 ms/p' | head -n 1
  rm -rf "$profile"
done
