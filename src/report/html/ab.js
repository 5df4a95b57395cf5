// The page of a comparison: the pairs, and the interval as it narrowed.

const VERDICTS = { regressed: "worse", improved: "better", "no-regression": "better", invalid: "worse" };

function abPage({ report, courses }) {
    const gates = report.comparisons.filter((row) => row.role === "gate");
    const seen = report.comparisons.filter((row) => row.role === "observe");
    const exact = report.comparisons.filter((row) => row.role === "exact");
    return [
        section("reasons", "Why", notes(report.reasons)),
        section(
            "pairs",
            "Pairs",
            about(
                "Each dot is a pair: base and head beside each other on the same machine. Shaded is the interval after so many pairs,",
                "as it narrowed; dashed are no change and the change that matters.",
            ),
            gates.length > 0
                ? make(
                      "div",
                      { class: "charts two" },
                      gates.map((row) => narrowing(row, courses[row.metric])),
                  )
                : null,
            observed(seen, courses),
        ),
        section(
            "decides",
            "What decides",
            gates.length > 0
                ? comparisonTable(gates, "Metrics that decide")
                : make("p", { class: "empty" }, "No metric was compared."),
        ),
        section(
            "besides",
            "What was seen besides",
            seen.length > 0 ? comparisonTable(seen, "Metrics that decide nothing") : null,
            exact.length > 0 ? comparisonTable(exact, "Counted exactly") : null,
        ),
        checks(report),
        trials(
            report,
            [...gates, ...seen].map((row) => row.metric),
        ),
        sessions(report),
        warnings(report),
        configuration(report, ["design", "sides", "scenario", "run", "model", "machine", "tool"]),
        filesSection(report),
    ];
}

function narrowing(row, course) {
    if (!course) return make("p", { class: "empty" }, `${named(row.metric)}: no pair has a value.`);
    const { pairs, narrowing: steps, exact } = course;
    const numbers = pairs.map((_, place) => place + 1);
    const bars = row.bar_pct === null ? [] : [row.bar_pct, -row.bar_pct].map((y) => ({ kind: "mark", y, tone: 4 }));
    const worse = row.better === "higher" ? "below zero is slower" : "above zero is slower";
    return chart({
        title: named(row.metric),
        height: 220,
        x: { label: "pairs", unit: "", domain: [0.5, pairs.length + 0.5], ticks: () => wholeTicks(pairs.length) },
        y: {
            label: `change, % of base; ${worse}${exact ? "" : "; from the medians of the trials"}`,
            unit: "",
            zero: false,
        },
        layers: [
            { kind: "mark", y: 0, tone: 4 },
            ...bars,
            {
                kind: "band",
                name: "interval",
                xs: steps.map(([n]) => n),
                lows: steps.map(([, , low]) => low),
                highs: steps.map(([, , , high]) => high),
            },
            { kind: "line", name: "estimate", xs: steps.map(([n]) => n), ys: steps.map(([, estimate]) => estimate) },
            { kind: "dots", name: "pair", tone: 2, size: 5.5, xs: numbers, ys: pairs },
        ],
        rows: () => ({
            caption: `${named(row.metric)}, pair by pair`,
            head: ["pair", "change, %", "estimate so far, %", "interval so far, %"],
            rows: numbers.map((number, place) => {
                const step = steps.find(([n]) => n === number);
                return [
                    String(number),
                    signed(pairs[place]),
                    step ? signed(step[1]) : unknown("too few pairs"),
                    step ? `${signed(step[2])} … ${signed(step[3])}` : unknown("too few pairs"),
                ];
            }),
        }),
    });
}

function wholeTicks(most) {
    const step = Math.max(1, Math.ceil(most / 10));
    return Array.from({ length: Math.floor(most / step) }, (_, place) => (place + 1) * step);
}

function observed(seen, courses) {
    const drawn = seen.filter((row) => courses[row.metric]);
    if (drawn.length === 0) return null;
    return fold(`${drawn.length} more metrics, which decide nothing`, () =>
        make(
            "div",
            { class: "charts two" },
            drawn.map((row) => narrowing(row, courses[row.metric])),
        ),
    );
}

function comparisonTable(rows, caption) {
    const percent = (value) => `${signed(value)} %`;
    const side = (row, spread) => quantity(spread.median, LADDERS[row.unit] ? row.unit : "");
    return table({
        caption,
        words: [0, 7],
        head: ["metric", "unit", "base", "head", "change", "interval", "resolves", "verdict"],
        rows: rows.map((row) => [
            named(row.metric),
            row.unit,
            side(row, row.base),
            side(row, row.head),
            field(row, "change_pct", percent),
            field(row, "ci_pct", ([low, high]) => `${signed(low)} … ${signed(high)} %`),
            field(row, "resolution_pct", (value) => `±${short(value)} %`),
            row.verdict
                ? make("span", { class: VERDICTS[row.verdict], title: row.sentence }, row.verdict.replace("-", " "))
                : row.q === null || row.q === undefined
                  ? unknown(row.unknown?.verdict)
                  : `q = ${row.q.toFixed(3)}`,
        ]),
    });
}

function checks(report) {
    return section(
        "checks",
        "Checks",
        report.checks.length > 0
            ? table({
                  head: ["check", "", "what was seen"],
                  words: [0, 1, 2],
                  rows: report.checks.map((check) => [
                      named(check.name),
                      check.ok ? "ok" : make("b", { class: "worse" }, "look here"),
                      check.detail,
                  ]),
              })
            : null,
    );
}

function trials(report, metrics) {
    if (report.trials.length === 0) return null;
    const shown = metrics
        .filter((name) => report.trials.some((trial) => trial.metrics[name] !== undefined))
        .slice(0, 6);
    return section(
        "trials",
        "Every trial",
        fold(`Every start of a server (${report.trials.length})`, () =>
            table({
                caption: "In the order in which they were played",
                head: [
                    "pair",
                    "side",
                    "went",
                    "healthy after",
                    ...shown.map(named),
                    "requests",
                    "failed",
                    "steal",
                    "load",
                    "counts",
                ],
                words: [1, 10 + shown.length],
                rows: report.trials.map((trial) => [
                    String(trial.pair + 1),
                    trial.side,
                    trial.slot === 0 ? "first" : "second",
                    quantity(trial.start_s, "s"),
                    ...shown.map((name) =>
                        trial.metrics[name] === undefined
                            ? unknown("no value in this trial")
                            : short(trial.metrics[name]),
                    ),
                    whole(trial.requests),
                    whole(trial.failed),
                    field(trial, "steal_pct", (value) => `${short(value)} %`),
                    field(trial, "load_average"),
                    trial.valid ? "yes" : (trial.reason ?? "no"),
                ]),
            }),
        ),
    );
}

function sessions(report) {
    if (!report.sessions || report.sessions.length === 0) return null;
    return section(
        "sessions",
        "Sessions put together",
        table({
            head: ["file", "runner", "pairs", "verdict", "changes, %"],
            words: [0, 1, 3, 4],
            rows: report.sessions.map((found) => [
                found.file,
                field(found, "runner_label", String),
                whole(found.pairs),
                found.verdict.replace("-", " "),
                Object.entries(found.change_pct)
                    .map(([name, value]) => `${named(name)} ${signed(value)}`)
                    .join("; "),
            ]),
        }),
    );
}
