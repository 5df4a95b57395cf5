// Tables of a report.

/** head: texts; rows: arrays of nodes and texts. `words` are the columns that hold words, from 0. */
function table({ head, rows, caption, words = [] }) {
    const kind = (column) => (words.includes(column) ? "words" : undefined);
    return make(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": caption ?? "Table" },
        make(
            "table",
            {},
            caption ? make("caption", {}, caption) : null,
            make(
                "thead",
                {},
                make(
                    "tr",
                    {},
                    head.map((cell, column) =>
                        make("th", { scope: "col", class: column === 0 ? "words" : kind(column) }, cell),
                    ),
                ),
            ),
            make(
                "tbody",
                {},
                rows.map((row) =>
                    make(
                        "tr",
                        {},
                        row.map((cell, column) =>
                            column === 0
                                ? make("th", { scope: "row", class: kind(0) }, cell)
                                : make("td", { class: kind(column) }, cell),
                        ),
                    ),
                ),
            ),
        ),
    );
}

const SHOWN_FIRST = [
    "ttft_ms",
    "ttft_scheduled_ms",
    "time_to_first_answer_ms",
    "queue_ms",
    "prefill_ms",
    "itl_ms",
    "tpot_ms",
    "e2e_ms",
    "decode_tokens_per_second",
    "prefill_tokens_per_second",
];

/** Metric summaries by name, in the order of report.md, those without a value left out. */
function metricsTable(metrics, caption) {
    const names = Object.keys(metrics).filter((name) => metrics[name].count > 0);
    const rank = (name) => (SHOWN_FIRST.includes(name) ? SHOWN_FIRST.indexOf(name) : 99);
    names.sort((one, other) => rank(one) - rank(other));
    if (names.length === 0) return null;
    const interval = (metric) => {
        const ends = metric.ci95?.p50;
        return ends
            ? [field(metric, "p50"), " ", make("small", {}, `${short(ends[0])} … ${short(ends[1])}`)]
            : field(metric, "p50");
    };
    return table({
        caption,
        head: ["metric", "unit", "values", "mean", "min", "median, 95 % interval", "p90", "p95", "p99", "max"],
        words: [0],
        rows: names.map((name) => {
            const metric = metrics[name];
            const cell = (key) => field(metric, key);
            return [
                named(name),
                metric.unit,
                whole(metric.count),
                cell("mean"),
                cell("min"),
                make("span", {}, interval(metric)),
                cell("p90"),
                cell("p95"),
                cell("p99"),
                cell("max"),
            ];
        }),
    });
}

function notes(items) {
    return items.length === 0
        ? null
        : make(
              "ul",
              { class: "notes" },
              items.map((item) => make("li", {}, item)),
          );
}

/** Everything in an object, path by path; `null` with its reason. */
function everything(object) {
    const rows = [];
    const walk = (value, path, reason) => {
        if (value === null) rows.push([path, unknown(reason)]);
        else if (Array.isArray(value)) {
            if (value.every((item) => item === null || typeof item !== "object")) {
                rows.push([path, value.length === 0 ? "none" : value.map(String).join(", ")]);
            } else value.forEach((item, place) => walk(item, `${path}[${place}]`));
        } else if (typeof value === "object") {
            for (const [name, inner] of Object.entries(value)) {
                if (name === "unknown") continue;
                walk(inner, path ? `${path}.${name}` : name, value.unknown?.[name]);
            }
        } else rows.push([path, typeof value === "number" ? String(value) : String(value)]);
    };
    walk(object, "");
    return rows;
}

function configuration(report, names) {
    const folds = names
        .filter((name) => report[name])
        .map((name) =>
            fold(named(name), () =>
                make(
                    "div",
                    {},
                    Array.isArray(report[name].command) && report[name].command.length > 0
                        ? make("pre", { class: "command" }, report[name].command.join(" "))
                        : null,
                    table({
                        head: ["field", "value"],
                        words: [0, 1],
                        rows: everything(report[name]),
                        caption: named(name),
                    }),
                ),
            ),
        );
    return section(
        "configuration",
        "Configuration",
        about("Everything that is needed to run it again, as in the report."),
        folds,
    );
}

function warnings(report) {
    const items = (report.warnings ?? []).map((note) => note.message);
    return section("warnings", "Warnings", notes(items));
}
