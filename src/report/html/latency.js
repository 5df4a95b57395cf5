// Distributions and percentile curves, and the time to first token against the prompt's length.

function spreads(requests) {
    const names = Object.keys(requests.spreads);
    if (names.length === 0) return null;
    const holder = make("div", { class: "charts two" });
    const show = (name) => {
        const spread = requests.spreads[name];
        const unit = name.endsWith("_ms") ? "ms" : "tokens/s";
        holder.replaceChildren(histogram(name, spread, unit), percentiles(name, spread, unit));
    };
    show(names[0]);
    return section(
        "latency",
        "Distribution",
        about(
            "Of all completed measured requests. The curve stretches towards the end: what one in a hundred, one in a",
            "thousand requests had to wait.",
        ),
        make(
            "div",
            { class: "controls" },
            choice(
                "Metric",
                names.map((name) => [name, named(name)]),
                names[0],
                show,
            ),
        ),
        holder,
    );
}

function histogram(name, spread, unit) {
    const { edges, counts } = spread;
    return chart({
        title: "How many",
        height: 230,
        x: { label: named(name), unit, log: spread.log, domain: [edges[0], edges[edges.length - 1]] },
        y: { label: "requests", unit: "" },
        layers: [{ kind: "bars", name: "requests", edges, ys: counts }],
        rows: () => ({
            caption: `${named(name)}, ${whole(spread.count)} requests`,
            head: ["from", "to", "requests"],
            rows: counts
                .map((count, bar) => [quantity(edges[bar], unit), quantity(edges[bar + 1], unit), whole(count)])
                .filter((_, bar) => counts[bar] > 0),
        }),
    });
}

/** Where a percentile stands: by one in how many requests are above it. */
const oneIn = (percent) => 100 / (100 - percent);

function percentWords(place) {
    const percent = 100 - 100 / place;
    return `p${Number(percent.toFixed(percent < 99 ? 0 : 3))}`;
}

function percentiles(name, spread, unit) {
    // The largest value is above all the others: one in as many as there are.
    const place = ([percent]) => (percent >= 100 ? Math.max(spread.count, 2) : oneIn(percent));
    const xs = spread.curve.map(place);
    const ys = spread.curve.map(([, value]) => value);
    const most = xs[xs.length - 1];
    return chart({
        title: "Percentiles",
        height: 230,
        x: {
            label: "share of requests below",
            unit: "",
            log: true,
            domain: [1, Math.max(most, 2)],
            words: percentWords,
            ticks: ([from, to]) =>
                [1, 2, 4, 10, 20, 100, 1e3, 1e4, 1e5, 1e6].filter((tick) => tick >= from && tick <= to),
        },
        y: { label: named(name), unit, log: spread.log, zero: !spread.log },
        layers: [{ kind: "line", name: named(name), xs, ys }],
        rows: () => ({
            caption: `${named(name)} by percentile`,
            head: ["percentile", "value"],
            rows: spread.curve.map(([percent, value]) => [
                percent >= 100 ? "largest" : `p${percent}`,
                quantity(value, unit),
            ]),
        }),
    });
}

function byPromptLength(points) {
    const there = points.prompt_tokens
        .map((_, place) => place)
        .filter((place) => points.prompt_tokens[place] !== null && points.ttft_ms[place] !== null);
    if (there.length === 0) return null;
    const xs = there.map((place) => points.prompt_tokens[place]);
    const ys = there.map((place) => points.ttft_ms[place]);
    const [low, high] = extent(ys);
    const [least, most] = extent(xs);
    const domain = [0, most * 1.03 || 1];
    const tell = (place, words) => `${words(ys[place])} (${points.tell(there[place])})`;
    return section(
        "prompts",
        "Time to first token against prompt length",
        about(
            least === most
                ? "All prompts had the same length."
                : "Each dot is a request. A straight line through zero is a prefill of constant speed;",
            least === most ? "" : "what lies above it waited for something else.",
        ),
        chart({
            title: "Time to first token",
            height: 260,
            x: { label: "prompt, tokens", unit: "", domain },
            y: { unit: "ms", log: low > 0 && high / low > 40 },
            layers: (shown) => {
                const bins = binned(xs, ys, shown, 40);
                return [
                    { kind: "dots", name: "a request", xs, ys, tell },
                    { kind: "line", name: "median", tone: 2, xs: bins.xs, ys: bins.p50 },
                ];
            },
            rows: () => {
                const bins = binned(xs, ys, domain, 20);
                return {
                    caption: "Median time to first token by prompt length",
                    head: ["tokens", "requests", "median"],
                    rows: bins.xs.map((x, place) => [
                        whole(x),
                        whole(bins.counts[place]),
                        quantity(bins.p50[place], "ms"),
                    ]),
                };
            },
        }),
    );
}
