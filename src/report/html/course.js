// The course of a run: everything over one clock, zoomed together.

const COLUMNS_UNITS = [
    [/_bytes_per_second$/, "bytes_per_second"],
    [/bytes$/, "bytes"],
    [/_ratio$/, "ratio"],
    [/_ms(_|$)/, "ms"],
    [/_mhz$/, "MHz"],
    [/_w$/, "W"],
    [/_c$/, "°C"],
    [/cpu_cores$/, "cores"],
    [/_per_second$/, "per second"],
    [/threads$/, "threads"],
];

function unitOf(name) {
    return COLUMNS_UNITS.find(([pattern]) => pattern.test(name))?.[1] ?? "";
}

/** A column's name without its unit. */
function plainName(name) {
    return name
        .replace(/(_per_second|_bytes|_ratio|_ms|_mhz|_w|_c)+$/, "")
        .replaceAll("_", " ")
        .replace("cpu cores", "processors in use")
        .replace("rss", "resident memory")
        .replace("sm clock", "core clock");
}

const known = (column) => Array.isArray(column) && column.some((value) => value !== null && Number.isFinite(value));
const always0 = (column) => column.every((value) => value === null || value === 0);

class Course {
    constructor(report, points) {
        const line = report.timeline ?? {};
        this.report = report;
        this.line = line;
        this.points = points;
        const steps = line.started?.length ?? 0;
        const end = line.duration_s ?? (line.step_s ?? 0) * steps;
        this.from = Array.from({ length: steps }, (_, step) => step * line.step_s);
        this.widths = this.from.map((from) => Math.max(1e-9, Math.min(line.step_s, end - from)));
        this.xs = this.from.map((from, step) => from + this.widths[step] / 2);
        const last = points ? (points.at_s[points.at_s.length - 1] ?? 0) : 0;
        const first = points ? Math.min(0, points.at_s[0] ?? 0) : 0;
        this.zoom = new Zoom([first, Math.max(end, last, first + 1e-3)]);
        this.silent = [];
    }

    x() {
        return { label: "since the load began", unit: "s", domain: this.zoom.full };
    }

    phaseMarks() {
        const phases = this.report.phases ?? [];
        if (phases.length < 2) return [];
        return phases.map((phase) => ({ kind: "mark", x: phase.started_s, tone: 4 }));
    }

    /** A chart of columns: [name, values, options]; nothing where none is known. */
    panel(title, unit, columns, { label, rows = true, ...options } = {}) {
        const there = columns.filter(([, values]) => known(values));
        if (there.length === 0) return null;
        if (there.every(([, values]) => always0(values))) {
            this.silent.push(title);
            return null;
        }
        const dashes = [undefined, "6 3", "2 3", "8 3 2 3"];
        const layers = there.map(([name, values, more], place) => ({
            kind: "line",
            name,
            tone: (place % 4) + 1,
            dash: dashes[place % 4],
            xs: this.xs,
            ys: values,
            ...more,
        }));
        return chart({
            title,
            zoom: this.zoom,
            x: this.x(),
            y: { label, unit },
            height: 150,
            ...options,
            layers: [...this.phaseMarks(), ...layers],
            rows: rows
                ? () => ({
                      caption: title,
                      head: ["seconds", ...there.map(([name]) => name)],
                      rows: this.from.map((from, step) => [
                          short(from),
                          ...there.map(([, values]) =>
                              values[step] === null ? unknown() : quantity(values[step], unit),
                          ),
                      ]),
                  })
                : undefined,
        });
    }

    load() {
        const { line } = this;
        const open = line.unit === "requests_per_second";
        const rate = (counts) => counts?.map((count, step) => count / this.widths[step]);
        const phased = (this.report.phases ?? []).length > 1;
        return [
            open
                ? this.panel(
                      "Arrivals",
                      "",
                      [
                          ["planned", line.planned],
                          ["sent", line.achieved],
                      ],
                      { label: "requests/s" },
                  )
                : null,
            this.panel(
                "In flight",
                "",
                [
                    ["requests in flight", line.in_flight],
                    ...(open || phased ? [] : [["users planned", line.planned, { step: true }]]),
                ],
                { label: "requests" },
            ),
            this.panel(
                "Requests",
                "",
                [
                    ["started", rate(line.started)],
                    ["completed", rate(line.completed)],
                    ["failed", rate(line.failed), { tone: "bad" }],
                ],
                { label: "per second" },
            ),
            this.panel("Output", "", [["output tokens", line.output_tokens_per_second ?? rate(line.output_tokens)]], {
                label: "tokens/s",
            }),
            this.panel("Busy slots", "ratio", [["share of slots at work", line.slots_busy_ratio]], {}),
        ];
    }

    /** Every request as a dot, with the median of those shown. */
    requests(title, key) {
        const { points } = this;
        const [low, high] = extent(points[key]);
        if (!Number.isFinite(low)) return null;
        const at = (place) => points.tell(place);
        const failed = points.places("f").map((place) => points.at_s[place]);
        return chart({
            title,
            zoom: this.zoom,
            x: this.x(),
            y: { unit: "ms", log: low > 0 && high / low > 40 },
            height: 200,
            layers: (domain) => {
                const bins = binned(points.at_s, points[key], domain, 70);
                return [
                    ...this.phaseMarks(),
                    {
                        kind: "dots",
                        name: "a request",
                        tone: 1,
                        xs: points.at_s,
                        ys: points[key],
                        tell: (place, words) => `${words(points[key][place])} (${at(place)})`,
                    },
                    { kind: "line", name: "p95", tone: 2, dash: "5 3", xs: bins.xs, ys: bins.p95 },
                    { kind: "line", name: "median", tone: 2, xs: bins.xs, ys: bins.p50 },
                    ...(failed.length > 0 ? [{ kind: "rug", name: "failed", tone: "bad", xs: failed, ys: [] }] : []),
                ];
            },
            rows: () => {
                const bins = binned(points.at_s, points[key], this.zoom.domain, 30);
                return {
                    caption: `${title}, of the part shown`,
                    head: ["seconds", "requests", "median", "p95"],
                    rows: bins.xs.map((x, place) => [
                        short(x),
                        whole(bins.counts[place]),
                        quantity(bins.p50[place], "ms"),
                        bins.p95[place] === null ? unknown("fewer than 20 values") : quantity(bins.p95[place], "ms"),
                    ]),
                };
            },
        });
    }

    latency() {
        const { line, points } = this;
        const bands = (name, metric) =>
            this.panel(
                name,
                "ms",
                [
                    ["median", line[`${metric}_p50`]],
                    ["p95", line[`${metric}_p95`]],
                    ["largest", line[`${metric}_max`], { tone: 4 }],
                ],
                { height: 170 },
            );
        const gaps = bands("Inter-token latency", "itl_ms");
        if (!points) return [bands("Time to first token", "ttft_ms"), gaps];
        return [
            this.requests("Time to first token", "ttft_ms"),
            gaps,
            this.requests("Time per output token", "tpot_ms"),
            this.requests("Latency, end to end", "e2e_ms"),
        ];
    }

    /** The server's own metrics; those that a person looks for first, and the rest folded. */
    server() {
        const metrics = this.line.server_metrics ?? {};
        const first = /requests_(processing|deferred)|num_requests|kv_cache|tokens_seconds|cache_usage|busy_slots/;
        const panel = (name) => {
            const plain = name.replace(/^(llamacpp|vllm|sglang):/, "");
            const values = metrics[name].values;
            return this.panel(plain, "", [[name, values]], {
                label: metrics[name].per_second ? "per second" : "",
                height: 130,
            });
        };
        const names = Object.keys(metrics);
        const shown = names
            .filter((name) => first.test(name))
            .map(panel)
            .filter(Boolean);
        const rest = names.filter((name) => !first.test(name));
        const folded =
            rest.length === 0
                ? null
                : fold(`${rest.length} more of the server's metrics`, () =>
                      make("div", { class: "charts two" }, rest.map(panel)),
                  );
        return [shown.length > 0 ? make("div", { class: "charts two" }, shown) : null, folded];
    }

    resources() {
        const found = this.line.resources ?? {};
        const { server = {}, client = {}, machine = {}, gpus = [] } = found;
        const both = [...new Set([...Object.keys(server ?? {}), ...Object.keys(client ?? {})])].filter(
            (name) => name !== "unknown",
        );
        const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
        const processes = both.map((name) =>
            this.panel(
                capital(plainName(name)),
                unitOf(name),
                [
                    ["server", server?.[name]],
                    ["bench-ci", client?.[name]],
                ],
                { height: 130 },
            ),
        );
        const ofMachine = Object.keys(machine ?? {})
            .filter((name) => name !== "unknown")
            .map((name) =>
                this.panel(`Machine: ${plainName(name)}`, unitOf(name), [[plainName(name), machine[name]]], {
                    height: 130,
                }),
            );
        const columns = [
            ...new Set((gpus ?? []).flatMap((gpu) => Object.keys(gpu).filter((name) => Array.isArray(gpu[name])))),
        ];
        const graphics = columns.map((name) =>
            this.panel(
                `GPU: ${plainName(name)}`,
                unitOf(name),
                gpus.map((gpu) => [`${gpu.index ?? ""} ${gpu.name ?? ""}`.trim(), gpu[name]]),
                { height: 130 },
            ),
        );
        const panels = [...processes, ...ofMachine, ...graphics].filter(Boolean);
        return panels.length > 0 ? [make("div", { class: "charts two" }, panels)] : [];
    }

    controls() {
        const shown = make("output", { class: "faint" });
        const button = (text, label, act) => {
            const made = make("button", { type: "button", "aria-label": label }, text);
            made.addEventListener("click", act);
            return made;
        };
        const { zoom } = this;
        const middle = () => zoom.cursor ?? (zoom.domain[0] + zoom.domain[1]) / 2;
        const reset = button("Show all", "Show the whole run", () => zoom.reset());
        zoom.charts.add({
            redraw: () => {
                shown.textContent = `${short(zoom.domain[0])} to ${short(zoom.domain[1])} s of ${short(zoom.full[1])} s`;
                reset.disabled = !zoom.isZoomed;
            },
            point: () => {},
        });
        zoom.show(...zoom.full);
        return make(
            "div",
            { class: "controls sticky" },
            shown,
            button("+", "Zoom in", () => zoom.around(middle(), 0.5)),
            button("−", "Zoom out", () => zoom.around(middle(), 2)),
            reset,
        );
    }

    section(missing) {
        const load = this.load();
        const latency = this.latency();
        const server = this.server();
        const resources = this.resources();
        const all = [...load, ...latency, ...server, ...resources].filter(Boolean);
        const why = this.report.timeline ? null : (this.report.unknown?.timeline ?? "this report has none");
        if (all.length === 0) {
            return section("course", "Over time", make("p", { class: "empty" }, `There is no course to draw: ${why}.`));
        }
        const silent =
            this.silent.length > 0
                ? make("p", { class: "faint" }, `Zero throughout: ${this.silent.join(", ")}.`)
                : null;
        return section(
            "course",
            "Over time",
            about(
                "All charts share one clock. Drag across one to zoom them all, double-click to see all again;",
                "or focus one: arrow keys read it, + and − zoom, Shift with an arrow moves along.",
            ),
            missing ? make("p", { class: "faint" }, `Single requests are not drawn: ${missing}.`) : null,
            why ? make("p", { class: "faint" }, `No course over equal steps: ${why}.`) : null,
            this.points && this.points.every > 1
                ? make(
                      "p",
                      { class: "faint" },
                      `One in ${this.points.every} of ${whole(this.points.count)} requests is drawn; tables and distributions are of all.`,
                  )
                : null,
            this.controls(),
            make("div", { class: "charts" }, load.filter(Boolean), latency.filter(Boolean)),
            server.some(Boolean) ? [make("h3", {}, "Server"), ...server] : null,
            resources.length > 0 ? [make("h3", {}, "Processes and machine"), ...resources] : null,
            silent,
        );
    }
}

/** Median and p95 of the values whose place is shown, in so many steps; few values have no p95. */
function binned(xs, ys, [from, to], count) {
    const width = (to - from) / count;
    const bins = Array.from({ length: count }, () => []);
    xs.forEach((x, place) => {
        const value = ys[place];
        if (value === null || x < from || x > to) return;
        bins[Math.min(count - 1, Math.floor((x - from) / width))].push(value);
    });
    const found = { xs: [], p50: [], p95: [], counts: [] };
    bins.forEach((values, bin) => {
        if (values.length === 0) return;
        values.sort((one, other) => one - other);
        found.xs.push(from + (bin + 0.5) * width);
        found.p50.push(quantile(values, 0.5));
        found.p95.push(values.length >= 20 ? quantile(values, 0.95) : null);
        found.counts.push(values.length);
    });
    return found;
}

/** The columns of requests with their differences summed up. */
function pointsOf(requests) {
    const { points } = requests;
    const sums = (differences) => {
        let sum = 0;
        return differences.map((difference) => (sum += difference));
    };
    const index = sums(points.index);
    const outcomes = points.outcome;
    return {
        ...points,
        index,
        at_s: sums(points.at_ms).map((ms) => ms / 1e3),
        count: requests.count,
        every: requests.every,
        places: (outcome) => index.map((_, place) => place).filter((place) => outcomes[place] === outcome),
        tell: (place) => {
            const prompt = points.prompt_tokens[place];
            const answer = points.completion_tokens[place];
            const tokens =
                prompt === null ? "" : `, ${whole(prompt)} → ${answer === null ? "–" : whole(answer)} tokens`;
            return `request ${index[place]}${tokens}`;
        },
    };
}
