// The page of a run.

function runPage({ report, requests, log }) {
    const rows = requests.value;
    const points = rows && rows.points.index.length > 0 ? pointsOf(rows) : null;
    const missing = rows ? (points ? null : "no measured request was sent") : requests.missing;
    const course = new Course(report, points);
    return [
        keyFigures(report),
        findings(report),
        course.section(missing),
        metricsSection(report),
        rows ? spreads(rows) : null,
        points ? byPromptLength(points) : null,
        rows ? waterfall(rows) : null,
        phaseTables(report),
        turns(report),
        failures(report, rows),
        serverLog(report, log),
        accounts(report),
        warnings(report),
        configuration(report, [
            "run",
            "scenario",
            "server",
            "model",
            "machine",
            "client",
            "derived",
            "calibration",
            "tool",
        ]),
        filesSection(report),
    ];
}

function keyFigures(report) {
    const { metrics, rates, requests } = report;
    const figure = (name, value, note) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, value), note ? make("dd", { class: "note" }, note) : null);
    const latency = (key, label) => {
        const metric = metrics[key];
        if (!metric || metric.count === 0) return null;
        const tail =
            metric.p95 !== null && metric.p95 !== undefined ? `p95 ${quantity(metric.p95, metric.unit)}` : null;
        return figure(
            label,
            metric.p50 === null ? unknown(metric.unknown?.p50) : quantity(metric.p50, metric.unit),
            tail,
        );
    };
    const rate = (key, label, unit) =>
        rates[key] === null ? null : figure(label, [short(rates[key]), " ", make("small", {}, unit)]);
    const lost = [
        ["failed", requests.failed],
        ["dropped", requests.dropped],
        ["cut", requests.cut],
        ["cancelled", requests.cancelled],
    ]
        .filter(([, count]) => count > 0)
        .map(([name, count]) => `${whole(count)} ${name}`);
    const parts = [
        latency("ttft_ms", "TTFT, median"),
        latency("itl_ms", "Inter-token latency, median"),
        latency("e2e_ms", "Latency, median"),
        rate("output_tokens_per_second", "Output", "tokens/s"),
        rate("requests_per_second", "Requests", "a second"),
        rate("goodput_requests_per_second", "Goodput", "requests/s"),
        figure(
            "Completed",
            [whole(requests.completed), " ", make("small", {}, `of ${whole(requests.planned)}`)],
            lost.join(", "),
        ),
    ];
    return make("dl", { class: "figures" }, parts.filter(Boolean));
}

/** Why the run is not what was asked for, and what the thresholds say. */
function findings(report) {
    const causes = [...(report.run.causes ?? []), ...(report.client.reasons ?? []).map((note) => note.message)];
    const thresholds = report.thresholds ?? [];
    const verdicts =
        thresholds.length === 0
            ? null
            : table({
                  caption: "Thresholds",
                  head: ["threshold", "observed", "holds"],
                  words: [0, 2],
                  rows: thresholds.map((threshold) => [
                      threshold.expression,
                      field(threshold, "observed"),
                      threshold.ok
                          ? "yes"
                          : make("span", { class: "worse" }, threshold.aborted ? "no, and ended the run" : "no"),
                  ]),
              });
    return section("findings", "What to know first", notes(causes), verdicts);
}

function metricsSection(report) {
    const { rates } = report;
    const names = Object.keys(rates).filter((name) => typeof rates[name] === "number");
    const steady = rates.steady_state;
    const rateTable =
        names.length === 0
            ? null
            : table({
                  caption: steady ? "Rates, over the whole window and at the plateau of concurrency" : "Rates",
                  head: ["rate", "whole window", ...(steady ? ["steady state"] : [])],
                  rows: names.map((name) => [
                      named(name),
                      short(rates[name]),
                      ...(steady ? [field(steady, name)] : []),
                  ]),
              });
    return section(
        "metrics",
        "Metrics",
        about("Of completed measured requests. A dash is a value that is not known; its title says why."),
        metricsTable(report.metrics),
        rateTable,
    );
}

function phaseTables(report) {
    const phases = report.phases ?? [];
    if (phases.length < 2) return null;
    const cell = (phase, name, key) =>
        phase.metrics[name] ? field(phase.metrics[name], key) : unknown("not measured");
    return section(
        "phases",
        "Phases",
        table({
            caption: "One row a measured phase",
            head: [
                "phase",
                "from",
                "to",
                "completed",
                "failed",
                "TTFT p50, ms",
                "TTFT p95, ms",
                "ITL p50, ms",
                "latency p50, ms",
                "output tokens/s",
                "requests/s",
            ],
            rows: phases.map((phase) => [
                phase.name,
                quantity(phase.started_s, "s"),
                quantity(phase.closed_s, "s"),
                `${whole(phase.requests.completed)} of ${whole(phase.requests.planned)}`,
                whole(phase.requests.failed),
                cell(phase, "ttft_ms", "p50"),
                cell(phase, "ttft_ms", "p95"),
                cell(phase, "itl_ms", "p50"),
                cell(phase, "e2e_ms", "p50"),
                field(phase.rates, "output_tokens_per_second"),
                field(phase.rates, "requests_per_second"),
            ]),
        }),
        phases.map((phase) =>
            fold(
                `All metrics of ${phase.name}`,
                () =>
                    metricsTable(phase.metrics, phase.name) ??
                    make("p", { class: "empty" }, "No request of this phase completed."),
            ),
        ),
    );
}

function turns(report) {
    const found = report.conversations;
    if (!found || found.turns.length === 0) return null;
    return section(
        "turns",
        "Conversations",
        about(`${whole(found.begun)} begun, ${whole(found.completed)} completed, ${whole(found.broken)} broken off.`),
        table({
            caption: "By turn",
            head: [
                "turn",
                "requests",
                "completed",
                "prompt tokens",
                "of those cached",
                "TTFT p50, ms",
                "latency p50, ms",
            ],
            rows: found.turns.map((turn) => [
                String(turn.turn),
                whole(turn.requests),
                whole(turn.completed),
                field(turn, "prompt_tokens_mean"),
                field(turn, "cached_tokens_mean"),
                field(turn, "ttft_ms_p50"),
                field(turn, "e2e_ms_p50"),
            ]),
        }),
    );
}

function failures(report, rows) {
    const kinds = Object.entries(report.requests.by_error ?? {});
    const reasons = Object.entries(report.requests.by_finish_reason ?? {});
    const failed =
        kinds.length === 0
            ? null
            : table({
                  caption: "Failed requests by kind",
                  head: ["kind", "requests", "for example"],
                  words: [0, 2],
                  rows: kinds.map(([kind, count]) => [
                      named(kind),
                      whole(count),
                      report.requests.error_examples?.[kind] ?? unknown(),
                  ]),
              });
    const each =
        rows && rows.failures.length > 0
            ? fold(
                  rows.failed > rows.failures.length
                      ? `The first ${rows.failures.length} of ${whole(rows.failed)}`
                      : "Each of them",
                  () =>
                      table({
                          caption: "Failed requests",
                          head: ["request", "at", "until", "kind", "HTTP", "seen"],
                          words: [3, 5],
                          rows: rows.failures.map((row) => [
                              String(row.index),
                              quantity(row.at_s, "s"),
                              field(row, "end_s", (value) => quantity(value, "s")),
                              named(row.kind),
                              field(row, "status", String),
                              row.detail,
                          ]),
                      }),
              )
            : null;
    const finished =
        reasons.length === 0
            ? null
            : table({
                  caption: "Completed requests by the server's finish reason",
                  head: ["finish reason", "requests"],
                  rows: reasons.map(([reason, count]) => [reason, whole(count)]),
              });
    return section("outcomes", failed ? "Failures and outcomes" : "Outcomes", failed, each, finished);
}

/** Around failures it is open; of a quiet run it is folded. */
function serverLog(report, log) {
    if (!log.value) {
        return section("log", "Server log", make("p", { class: "empty" }, `It is not here: ${log.missing}.`));
    }
    const { lines, count, marked } = log.value;
    if (lines.length === 0)
        return section("log", "Server log", make("p", { class: "empty" }, "The server wrote nothing."));
    const build = () => {
        const block = make("pre", {
            class: "log",
            tabindex: 0,
            role: "region",
            "aria-label": "Lines of the server's log",
        });
        let before = 0;
        for (const [number, text, isMarked] of lines) {
            if (number > before + 1)
                block.append(make("span", { class: "gap" }, `${" ".repeat(8)}… ${whole(number - before - 1)} lines\n`));
            block.append(
                make("span", { class: "number" }, String(number)),
                make("span", { class: isMarked ? "marked" : "text" }, text),
                "\n",
            );
            before = number;
        }
        return block;
    };
    const trouble = report.requests.failed > 0 || report.run.status !== "completed" || !report.client.valid;
    return section(
        "log",
        "Server log",
        about(
            `${whole(count)} lines; ${marked === 0 ? "none speaks of a failure" : `${whole(marked)} speak of a failure`}. Shown are those with their neighbours, and the end.`,
        ),
        fold("Lines", build, trouble),
    );
}

/** The server's account beside the client's, and what the machine had to give. */
function accounts(report) {
    const { reconciliation, resources, client } = report;
    const tokens = Object.entries(reconciliation.tokens).filter(
        ([name, value]) => name !== "unknown" && value !== null,
    );
    const counted =
        tokens.length === 0
            ? null
            : table({
                  caption: "Tokens of completed requests, counted in every way there is",
                  head: ["count", "tokens"],
                  rows: tokens.map(([name, value]) => [named(name), whole(value)]),
              });
    const residual = (name, found) => [
        name,
        whole(found.count),
        field(found, "mean_ms"),
        field(found, "p50_ms"),
        field(found, "p95_ms"),
        field(found, "p99_ms"),
        field(found, "max_ms"),
    ];
    const left = table({
        caption: "What the client saw less what the server says, ms",
        head: ["part", "requests", "mean", "p50", "p95", "p99", "largest"],
        rows: [
            residual("prefill", reconciliation.prefill_residual),
            residual("decode", reconciliation.decode_residual),
        ],
    });
    const spread = (name, found) => [
        name,
        whole(found.count),
        field(found, "mean"),
        field(found, "p50"),
        field(found, "p95"),
        field(found, "p99"),
        field(found, "max"),
    ];
    const own = table({
        caption: `The client's own delays, µs (stamps of the ${client.clock_source})`,
        head: ["delay", "values", "mean", "p50", "p95", "p99", "largest"],
        rows: [spread("sent late", client.dispatch_lateness_us), spread("read late", client.client_delay_us)],
    });
    const use = ["server", "client"]
        .filter((who) => resources[who])
        .map((who) => [
            who === "client" ? "bench-ci" : who,
            field(resources[who], "cpu_s", (value) => quantity(value, "s")),
            field(resources[who], "rss_peak_bytes", (value) => quantity(value, "bytes")),
        ]);
    const used =
        use.length === 0
            ? null
            : table({
                  caption: "Processor time and memory",
                  head: ["process", "processor time", "peak memory"],
                  rows: use,
              });
    const metrics = Object.entries(report.server_metrics ?? {});
    const scraped =
        metrics.length === 0
            ? null
            : fold(`The server's own metrics (${metrics.length})`, () =>
                  table({
                      caption: "The server's /metrics over the run, in its own units",
                      head: ["metric", "before", "after", "added", "min", "mean", "max"],
                      rows: metrics.map(([name, found]) => [
                          name,
                          field(found, "first"),
                          field(found, "last"),
                          field(found, "delta"),
                          field(found, "min"),
                          field(found, "mean"),
                          field(found, "max"),
                      ]),
                  }),
              );
    return section(
        "accounts",
        "Client and server",
        notes((reconciliation.disagreements ?? []).map((note) => note.message)),
        left,
        counted,
        own,
        used,
        scraped,
    );
}

function filesSection(report) {
    const files = report.files ?? [];
    if (files.length === 0) return null;
    return section(
        "files",
        "Files beside this one",
        table({
            head: ["file", "what it holds"],
            words: [0, 1],
            rows: files.map((file) => [file.name, file.what]),
        }),
    );
}
