// The page of a suite, a sweep or a search: heat map, Pareto front, and the cells.

const CELL_RATES = [
    "output_tokens_per_second",
    "requests_per_second",
    "total_tokens_per_second",
    "goodput_requests_per_second",
];
const CELL_LATENCIES = ["ttft_ms", "itl_ms", "tpot_ms", "e2e_ms"];
const EVIDENCE = [0, 99];

/** Whether figures of a cell may be compared: played to its end, and evidence. */
const counts = (cell) => cell.status === "completed" && EVIDENCE.includes(cell.exit_code);

/** What a cell can be judged by: name, unit, which direction is good, and the value. */
function measures(cells) {
    const found = [];
    for (const name of CELL_RATES) {
        found.push({
            id: name,
            text: named(name),
            unit: "",
            better: "higher",
            of: (cell) => cell.rates?.[name] ?? null,
            latency: false,
        });
    }
    for (const name of CELL_LATENCIES) {
        for (const figure of ["p50", "p95", "p99"]) {
            found.push({
                id: `${name}.${figure}`,
                text: `${named(name)}, ${figure}`,
                unit: "ms",
                better: "lower",
                of: (cell) => cell.metrics[name]?.[figure] ?? null,
                latency: true,
            });
        }
    }
    return found.filter((measure) => cells.some((cell) => measure.of(cell) !== null));
}

function suitePage({ report }) {
    const { cells } = report;
    const all = measures(cells);
    return [
        searchSection(report),
        wrong(report),
        all.length > 0 ? heatSection(report, all) : null,
        all.length > 0 ? paretoSection(report, all) : null,
        cellsSection(report, all),
        servers(report),
        warnings(report),
        configuration(report, ["suite", "machine", "tool"]),
    ];
}

function wrong(report) {
    const items = report.cells
        .filter((cell) => cell.causes.length > 0)
        .map((cell) => `${cell.name}: ${cell.causes.join("; ")}`);
    return report.search ? null : section("wrong", "What went wrong", notes(items));
}

/** The axes that have more than one value, scenarios among them. */
function axesOf({ cells, axes }) {
    const found = axes.map((name) => ({
        name,
        of: (cell) => cell.axes.find((axis) => axis.name === name)?.value ?? "–",
    }));
    if (new Set(cells.map((cell) => cell.scenario)).size > 1 || found.length === 0) {
        found.unshift({ name: "scenario", of: (cell) => cell.scenario });
    }
    return found;
}

function heatSection(report, all) {
    const axes = axesOf(report);
    const holder = make("div", {});
    let measure = all[0];
    let across = axes[axes.length - 1];
    const show = () => holder.replaceChildren(heatMap(report.cells, axes, across, measure));
    show();
    return section(
        "heat",
        "Heat map",
        about("The stronger the colour, the more. Outlined is the best cell that is evidence; hatched cells are none, or have no value."),
        make(
            "div",
            { class: "controls" },
            choice(
                "Figure",
                all.map((one) => [one.id, one.text]),
                measure.id,
                (id) => {
                    measure = all.find((one) => one.id === id);
                    show();
                },
            ),
            axes.length > 1
                ? choice(
                      "Across",
                      axes.map((axis) => [axis.name, axis.name]),
                      across.name,
                      (name) => {
                          across = axes.find((axis) => axis.name === name);
                          show();
                      },
                  )
                : null,
        ),
        holder,
    );
}

function heatMap(cells, axes, across, measure) {
    const down = axes.filter((axis) => axis !== across);
    const row = (cell) => down.map((axis) => axis.of(cell)).join(" · ");
    const columns = [...new Set(cells.map(across.of))];
    const rows = [...new Set(cells.map(row))];
    const values = cells
        .filter(counts)
        .map(measure.of)
        .filter((value) => value !== null);
    const [low, high] = extent(values);
    const best = measure.better === "lower" ? low : high;
    const cellOf = (there, column) => cells.find((cell) => row(cell) === there && across.of(cell) === column);
    const made = (cell) => {
        const value = cell ? measure.of(cell) : null;
        if (value === null)
            return make(
                "td",
                { class: "doubtful" },
                unknown(cell ? (cell.causes[0] ?? "nothing was measured") : "no such cell"),
            );
        const td = make("td", { title: cell.name }, quantity(value, measure.unit));
        if (!counts(cell)) td.classList.add("doubtful");
        else {
            td.style.setProperty("--heat", String(high > low ? 0.08 + (0.92 * (value - low)) / (high - low) : 0.3));
            if (values.length > 1 && value === best) td.classList.add("best");
        }
        return td;
    };
    return make(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": "Heat map" },
        make(
            "table",
            { class: "heat" },
            make("caption", {}, `${measure.text}; ${measure.better} is better`),
            make(
                "thead",
                {},
                make(
                    "tr",
                    {},
                    make(
                        "th",
                        { scope: "col", class: "words" },
                        down.map((axis) => axis.name).join(" · "),
                        " ",
                        make("small", {}, `${across.name} →`),
                    ),
                    columns.map((column) => make("th", { scope: "col" }, column)),
                ),
            ),
            make(
                "tbody",
                {},
                rows.map((there) =>
                    make(
                        "tr",
                        {},
                        make("th", { scope: "row" }, there),
                        columns.map((column) => made(cellOf(there, column))),
                    ),
                ),
            ),
        ),
    );
}

function paretoSection(report, all) {
    const rates = all.filter((measure) => !measure.latency);
    const latencies = all.filter((measure) => measure.latency);
    if (rates.length === 0 || latencies.length === 0) return null;
    let [rate, latency] = [rates[0], latencies[0]];
    const holder = make("div", {});
    const show = () => holder.replaceChildren(pareto(report, rate, latency));
    show();
    const pick = (label, from, chosen, take) =>
        choice(
            label,
            from.map((one) => [one.id, one.text]),
            chosen.id,
            (id) => {
                take(from.find((one) => one.id === id));
                show();
            },
        );
    return section(
        "pareto",
        "Latency against throughput",
        about(
            "Each dot is a cell. On the line are those that no other cell beats in both; below and to the right is better.",
        ),
        make(
            "div",
            { class: "controls" },
            pick("Throughput", rates, rate, (one) => (rate = one)),
            pick("Latency", latencies, latency, (one) => (latency = one)),
        ),
        holder,
    );
}

/** Of [rate, latency] points, those that none beats in both; by rate, ascending. */
function front(points) {
    const sorted = [...points].sort((one, other) => other.x - one.x || one.y - other.y);
    const kept = [];
    let best = Infinity;
    for (const point of sorted) {
        if (point.y < best) kept.unshift(point);
        best = Math.min(best, point.y);
    }
    return kept;
}

function pareto(report, rate, latency) {
    const axes = axesOf(report);
    const text = (cell) => axes.map((axis) => `${axis.name} ${axis.of(cell)}`).join(", ");
    const of = (cell) => ({ cell, x: rate.of(cell), y: latency.of(cell) });
    const there = report.cells.map(of).filter((point) => point.x !== null && point.y !== null);
    const sure = there.filter((point) => counts(point.cell)).sort((one, other) => one.x - other.x);
    const doubtful = there.filter((point) => !counts(point.cell));
    if (there.length === 0) return make("p", { class: "empty" }, "No cell has both.");
    const kept = front(sure);
    const [, most] = extent(there, (point) => point.x);
    const [low, high] = extent(there, (point) => point.y);
    return chart({
        title: latency.text,
        height: 300,
        x: { label: rate.text, unit: "", domain: [0, most * 1.08 || 1] },
        y: { unit: latency.unit, log: low > 0 && high / low > 20 },
        layers: [
            {
                kind: "line",
                name: "front",
                tone: 1,
                xs: kept.map((point) => point.x),
                ys: kept.map((point) => point.y),
            },
            {
                kind: "dots",
                name: "cell",
                tone: 1,
                size: 7,
                xs: sure.map((point) => point.x),
                ys: sure.map((point) => point.y),
                tell: (place, words) => `${words(sure[place].y)} (${text(sure[place].cell)})`,
            },
            ...(doubtful.length > 0
                ? [
                      {
                          kind: "dots",
                          name: "no evidence",
                          tone: 4,
                          size: 7,
                          xs: doubtful.map((point) => point.x),
                          ys: doubtful.map((point) => point.y),
                      },
                  ]
                : []),
            ...kept
                .slice(0, 12)
                .map((point) => ({
                    kind: "label",
                    x: point.x,
                    y: point.y,
                    text: axes.map((axis) => axis.of(point.cell)).join(" · "),
                })),
        ],
        rows: () => ({
            caption: "Cells by throughput",
            head: ["cell", rate.text, latency.text, "on the front"],
            words: [0],
            rows: sure.map((point) => [
                point.cell.name,
                short(point.x),
                quantity(point.y, latency.unit),
                kept.includes(point) ? "yes" : "no",
            ]),
        }),
    });
}

/** A folder of ours below the page; anything else is no link. */
function linked(cell) {
    const plain = /^[\w=,.+-]+(\/[\w=,.+-]+)*$/.test(cell.folder) && !cell.folder.split("/").includes("..");
    return plain && cell.status !== "not_run"
        ? make("a", { href: `./${cell.folder}/report.html` }, cell.name)
        : cell.name;
}

function cellsSection(report, all) {
    const wanted = [
        "ttft_ms.p50",
        "ttft_ms.p95",
        "itl_ms.p50",
        "e2e_ms.p50",
        "output_tokens_per_second",
        "requests_per_second",
        "goodput_requests_per_second",
    ];
    const shown = all.filter((measure) => wanted.includes(measure.id));
    return section(
        "cells",
        report.search ? "Trials" : "Cells",
        table({
            caption: "One run a cell: a difference of a few per cent between two cells shows nothing",
            head: ["cell", "outcome", "completed", "failed", ...shown.map((measure) => measure.text)],
            words: [0, 1],
            rows: report.cells.map((cell) => [
                linked(cell),
                cell.status.replace("_", " ") + (cell.exit_code ? `, exit ${cell.exit_code}` : ""),
                `${whole(cell.requests.completed)} of ${whole(cell.requests.planned)}`,
                whole(cell.requests.failed),
                ...shown.map((measure) => {
                    const value = measure.of(cell);
                    return value === null ? unknown(cell.causes[0]) : quantity(value, measure.unit);
                }),
            ]),
        }),
    );
}

function searchSection(report) {
    const { search } = report;
    if (!search) return null;
    const { points } = search;
    const drawn = points.filter((point) => point.requests_per_second !== null);
    const marks =
        search.value === null || search.value === undefined ? [] : [{ kind: "mark", x: search.value, tone: 2 }];
    const most = Math.max(...points.map((point) => point.load), search.value ?? 0) * 1.05 || 1;
    return section(
        "search",
        "What was searched",
        notes(search.reasons),
        points.length === 0
            ? null
            : make(
                  "div",
                  { class: "charts two" },
                  drawn.length === 0
                      ? null
                      : chart({
                            title: "Completed requests",
                            height: 220,
                            x: { label: search.over.replaceAll("_", " "), unit: "", domain: [0, most] },
                            y: { label: "per second", unit: "" },
                            layers: [
                                ...marks,
                                {
                                    kind: "line",
                                    name: "requests/s",
                                    xs: drawn.map((point) => point.load),
                                    ys: drawn.map((point) => point.requests_per_second),
                                },
                                {
                                    kind: "dots",
                                    xs: drawn.map((point) => point.load),
                                    ys: drawn.map((point) => point.requests_per_second),
                                    size: 6,
                                },
                            ],
                        }),
                  search.kind !== "goodput"
                      ? null
                      : chart({
                            title: "Requests that kept every objective",
                            height: 220,
                            x: { label: search.over.replaceAll("_", " "), unit: "", domain: [0, most] },
                            y: { unit: "ratio", domain: [0, 1.03] },
                            layers: [
                                ...marks,
                                ...(search.goodput_ratio ? [{ kind: "mark", y: search.goodput_ratio, tone: 4 }] : []),
                                {
                                    kind: "band",
                                    name: "95 % interval",
                                    xs: points.map((point) => point.load),
                                    lows: points.map((point) => point.ratio_interval?.[0]),
                                    highs: points.map((point) => point.ratio_interval?.[1]),
                                },
                                {
                                    kind: "line",
                                    name: "good",
                                    xs: points.map((point) => point.load),
                                    ys: points.map((point) => point.good / Math.max(1, point.requests)),
                                },
                            ],
                        }),
              ),
        points.length === 0
            ? null
            : table({
                  caption: "Every load with a trial that counts",
                  head: [search.over.replaceAll("_", " "), "trials", "requests", "good", "requests/s", "verdict"],
                  words: [5],
                  rows: points.map((point) => [
                      short(point.load),
                      whole(point.trials.length),
                      whole(point.requests),
                      whole(point.good),
                      field(point, "requests_per_second"),
                      field(point, "verdict", (word) => word.replace("_", " ")),
                  ]),
              }),
    );
}

function servers(report) {
    if (report.servers.length === 0) return null;
    return section(
        "servers",
        "Servers",
        fold(`Every start of a server (${report.servers.length})`, () =>
            table({
                caption: "Every start of a server, in order",
                head: ["server", "healthy after", "log", "cells", "command"],
                words: [2, 3, 4],
                rows: report.servers.map((server) => [
                    String(server.server_index + 1),
                    field(server, "start_s", (value) => quantity(value, "s")),
                    server.log,
                    server.cells.join("; "),
                    server.command.join(" "),
                ]),
            }),
        ),
    );
}
