// Numbers in words: three significant digits, thousands apart, a unit that fits; as in report.md.

function short(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    let decimals = 0;
    if (size !== 0 && size < 99.95) {
        if (size >= 9.995) decimals = 1;
        else if (size >= 0.9995) decimals = 2;
        else decimals = Math.min(9, 2 - Math.floor(Math.log10(size)));
    }
    return grouped(value.toFixed(decimals));
}

function whole(value) {
    return grouped(Math.round(value).toFixed(0));
}

function grouped(digits) {
    const [integer, fraction] = digits.replace("-", "").split(".");
    const apart = integer.replace(/\B(?=(\d{3})+$)/g, ",");
    return (digits.startsWith("-") ? "−" : "") + apart + (fraction ? `.${fraction}` : "");
}

/** With a plus or a minus and one decimal. */
function signed(value) {
    const digits = Math.abs(value).toFixed(1);
    if (digits === "0.0") return digits;
    return (value < 0 ? "−" : "+") + digits;
}

const LADDERS = {
    ms: [
        ["µs", 1e-3],
        ["ms", 1],
        ["s", 1e3],
    ],
    s: [
        ["µs", 1e-6],
        ["ms", 1e-3],
        ["s", 1],
    ],
    us: [
        ["µs", 1],
        ["ms", 1e3],
        ["s", 1e6],
    ],
    bytes: [
        ["B", 1],
        ["kB", 1e3],
        ["MB", 1e6],
        ["GB", 1e9],
        ["TB", 1e12],
    ],
    bytes_per_second: [
        ["B/s", 1],
        ["kB/s", 1e3],
        ["MB/s", 1e6],
        ["GB/s", 1e9],
        ["TB/s", 1e12],
    ],
    ratio: [["%", 0.01]],
};

/** The unit in which a value of this size is read, and what to divide by. */
function fitting(unit, size) {
    const ladder = LADDERS[unit];
    if (!ladder) return { unit: (unit ?? "").replaceAll("_per_second", "/s").replaceAll("_", " "), by: 1 };
    let step = ladder[0];
    for (const rung of ladder) if (Math.abs(size) >= rung[1] * 0.9995) step = rung;
    // Nothing at all is nothing of the plain unit.
    if (size === 0) step = ladder.find((rung) => rung[1] === 1) ?? ladder[0];
    return { unit: step[0], by: step[1] };
}

/** A value with its unit. */
function quantity(value, unit) {
    const { unit: name, by } = fitting(unit, value);
    return name ? `${short(value / by)} ${name}` : short(value);
}

/** The dash of a value that is not known, with the reason behind it. */
function unknown(reason) {
    return make("abbr", { class: "unknown", title: reason ?? "not recorded" }, "–");
}

/** A field of an object of the report in words, or a dash that says why not. */
function field(object, name, words = short) {
    const value = object?.[name];
    return value === null || value === undefined ? unknown(object?.unknown?.[name]) : words(value);
}

const NAMES = {
    ttft_ms: "time to first token",
    ttft_scheduled_ms: "TTFT from the schedule",
    time_to_first_answer_ms: "time to first answer",
    queue_ms: "queue",
    prefill_ms: "prefill",
    itl_ms: "inter-token latency",
    tpot_ms: "time per output token",
    e2e_ms: "latency, end to end",
    e2e_scheduled_ms: "latency from the schedule",
    decode_tokens_per_second: "decode rate of a request",
    prefill_tokens_per_second: "prefill rate of a request",
    requests_per_second: "requests per second",
    output_tokens_per_second: "output tokens per second",
    total_tokens_per_second: "total tokens per second",
    goodput_requests_per_second: "goodput, requests per second",
};

function named(name) {
    const [, stem, figure] = /^(.*?)_(p\d+|mean)$/.exec(name) ?? [];
    if (stem && NAMES[stem]) return `${NAMES[stem]}, ${figure}`;
    return NAMES[name] ?? name.replaceAll("_", " ");
}
