// Axes: from values to pixels, and where the ticks stand.

/** A scale over `domain` that ends at the pixels `from` and `to`. */
function scale(domain, from, to, log = false) {
    const bend = log ? (value) => Math.log10(Math.max(value, 1e-12)) : (value) => value;
    const straighten = log ? (value) => 10 ** value : (value) => value;
    const low = bend(domain[0]);
    const span = bend(domain[1]) - low || 1;
    const at = (value) => from + ((bend(value) - low) / span) * (to - from);
    at.back = (pixel) => straighten(low + ((pixel - from) / (to - from)) * span);
    at.domain = domain;
    at.log = log;
    return at;
}

/** Round numbers within the domain, about `count` of them. */
function ticks(domain, count, log = false) {
    return log ? logTicks(domain, count) : linearTicks(domain, count);
}

function linearTicks([low, high], count) {
    const raw = (high - low) / Math.max(1, count);
    if (!(raw > 0)) return [low];
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10);
    const found = [];
    for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) {
        found.push(Number((place * step).toPrecision(12)));
    }
    return found;
}

function logTicks([low, high], count) {
    const from = Math.floor(Math.log10(low));
    const to = Math.ceil(Math.log10(high));
    const within = (value) => value >= low * 0.999 && value <= high * 1.001;
    for (const factors of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
        const found = [];
        for (let power = from; power <= to; power += 1) {
            for (const factor of factors) if (within(factor * 10 ** power)) found.push(factor * 10 ** power);
        }
        if (found.length <= count + 1 && found.length >= 2) return found;
    }
    // Less than a decade, or very many of them.
    if (to - from <= count) return linearTicks([low, high], count);
    const stride = Math.ceil((to - from) / count);
    const powers = [];
    for (let power = from; power <= to; power += stride) if (within(10 ** power)) powers.push(10 ** power);
    return powers;
}

/** Tick labels that tell neighbours apart and carry no more digits than that takes. */
function tickWords(values, log = false) {
    if (log) return values.map((value) => (value >= 1e3 ? whole(value) : String(Number(value.toPrecision(3)))));
    const step = values.length > 1 ? Math.abs(values[1] - values[0]) : Math.abs(values[0]) || 1;
    const decimals = Math.min(9, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    return values.map((value) => grouped(value.toFixed(decimals)));
}

/** The domain of values with some room above; from zero unless they are far from it. */
function roomy(low, high, { zero = true, log = false } = {}) {
    if (!Number.isFinite(low) || !Number.isFinite(high)) return log ? [1, 10] : [0, 1];
    if (log) {
        const from = Math.max(low, 1e-9);
        return high / from > 1.2 ? [from / 1.08, high * 1.08] : [from / 1.2, Math.max(high, from) * 1.2];
    }
    const floor = zero && low >= 0 ? 0 : low;
    const room = (high - floor) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [zero && low >= 0 ? 0 : floor - room, high + room];
}

function extent(values, at = (value) => value) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
        const found = at(value);
        if (found === null || found === undefined || !Number.isFinite(found)) continue;
        if (found < low) low = found;
        if (found > high) high = found;
    }
    return [low, high];
}

/** The value below which this share of ascending values lies, in proportion between neighbours. */
function quantile(sorted, share) {
    if (sorted.length === 0) return NaN;
    const position = share * (sorted.length - 1);
    const below = Math.floor(position);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}
