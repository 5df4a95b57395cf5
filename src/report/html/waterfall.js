// The slowest requests, each from its planned instant to its end.

const PARTS = [
    ["wait", "waiting to be sent", "written_ms"],
    ["queue", "waiting for the response to begin", "headers_ms"],
    ["prefill", "until the first token", "first_ms"],
    ["decode", "writing the answer", "last_ms"],
    ["rest", "until the end", "end_ms"],
];

function waterfall(requests) {
    const rows = requests.slowest;
    if (rows.length === 0) return null;
    const most = Math.max(...rows.map((row) => row.end_ms ?? 0), 1e-9);
    const bar = (row) => {
        const track = make("div", { class: "track", role: "img" });
        const words = [];
        let before = 0;
        for (const [part, name, stamp] of PARTS) {
            const at = row[stamp];
            if (at === null || at === undefined) continue;
            const length = Math.max(0, at - before);
            const piece = make("span", { class: `part-${part}` });
            piece.style.width = `${(length / most) * 100}%`;
            track.append(piece);
            words.push(`${name} ${quantity(length, "ms")}`);
            before = Math.max(before, at);
        }
        track.setAttribute("aria-label", words.join(", "));
        track.title = words.join("\n");
        return track;
    };
    const key = make(
        "p",
        { class: "controls" },
        PARTS.map(([part, name]) => make("span", { class: "key faint" }, make("i", { class: `part-${part}` }), name)),
    );
    const tableOf = (shown) => {
        const made = table({
            caption: `The ${shown.length} slowest of ${whole(requests.count)} requests, on one scale of ${quantity(most, "ms")}`,
            head: ["request", "begun", "prompt", "cached", "answer", "latency", "course"],
            rows: shown.map((row) => [
                String(row.index),
                quantity(row.planned_s, "s"),
                field(row, "prompt_tokens", whole),
                field(row, "cached_tokens", whole),
                field(row, "completion_tokens", whole),
                quantity(row.e2e_ms, "ms"),
                bar(row),
            ]),
        });
        made.querySelector("table").classList.add("waterfall");
        for (const cell of made.querySelectorAll("tbody td:last-child")) cell.classList.add("course");
        return made;
    };
    const first = rows.slice(0, 15);
    return section(
        "slowest",
        "The slowest requests",
        key,
        tableOf(first),
        rows.length > first.length ? fold(`All ${rows.length} of them`, () => tableOf(rows)) : null,
    );
}
