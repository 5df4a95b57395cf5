// A chart: axes, layers, a cursor, zoom by pointer and keyboard, and the table behind it.
//
// A layer is { kind, name, tone, … } with its values in arrays of one length:
//   line   xs, ys, dash?, step?      a missing y breaks the line
//   band   xs, lows, highs
//   dots   xs, ys, size?             thousands of points are one path
//   bars   edges, ys                 one edge more than bars
//   rug    xs                        ticks at the lower end
//   mark   y or x                    a dashed line across
//   label  x, y, text

const LEFT = 54;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 30;
/** About the width of a letter on an axis. */
const LETTER = 6.5;

let charts = 0;

class Chart {
    /**
     * spec: title, x { label, unit, log?, domain?, ticks? }, y { label?, unit, log?, zero?, domain? },
     * layers (array, or a function of the domain shown), zoom?, height?, rows? → { head, rows },
     * tell? (place → what a reader is told there).
     */
    constructor(spec) {
        this.spec = spec;
        this.own = !spec.zoom;
        this.zoom = spec.zoom ?? new Zoom(spec.x.domain);
        this.zoom.charts.add(this);
        charts += 1;
        const id = `chart-${charts}`;
        this.caption = make("figcaption", { id });
        this.plot = make("div", {
            class: "plot",
            tabindex: 0,
            role: "application",
            "aria-roledescription": "chart",
            "aria-labelledby": id,
            "aria-describedby": "chart-keys",
        });
        this.figure = make("figure", {}, this.caption, this.plot);
        if (spec.rows) this.figure.append(fold("Table", () => table(spec.rows())));
        this.width = 0;
        this.listen();
        watchSize(this.plot, (width) => {
            if (Math.abs(width - this.width) < 1) return;
            this.width = width;
            this.redraw();
        });
    }

    redraw() {
        if (this.width === 0) return;
        const { spec, zoom } = this;
        this.layers = typeof spec.layers === "function" ? spec.layers(zoom.domain) : spec.layers;
        const height = spec.height ?? 190;
        const y = this.yDomain();
        const size = Math.max(Math.abs(y[0]), Math.abs(y[1]));
        this.unit = fitting(spec.y.unit, size);
        this.xUnit = fitting(spec.x.unit, Math.max(Math.abs(zoom.full[0]), Math.abs(zoom.full[1])));
        this.x = scale(zoom.domain, LEFT, this.width - RIGHT, spec.x.log);
        this.y = scale(y, height - BOTTOM, TOP, spec.y.log);
        const clip = `${this.caption.id}-clip`;
        const area = draw(
            "g",
            { "clip-path": `url(#${clip})` },
            this.layers.map((layer) => this.layer(layer)),
        );
        this.rule = draw("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
        this.selection = draw("rect", { class: "drag", y: TOP, height: height - BOTTOM - TOP, visibility: "hidden" });
        this.plot.replaceChildren(
            draw(
                "svg",
                {
                    viewBox: `0 0 ${this.width} ${height}`,
                    height,
                    "aria-hidden": "true",
                },
                draw(
                    "clipPath",
                    { id: clip },
                    draw("rect", {
                        x: LEFT,
                        y: TOP - 4,
                        width: Math.max(0, this.width - LEFT - RIGHT),
                        height: height - TOP - BOTTOM + 8,
                    }),
                ),
                this.axes(height),
                area,
                this.labels(),
                this.rule,
                this.selection,
            ),
        );
        this.writeCaption();
        this.point();
    }

    yDomain() {
        const { spec, zoom } = this;
        if (spec.y.domain) return spec.y.domain;
        const [from, to] = zoom.domain;
        let [low, high] = [Infinity, -Infinity];
        const take = (value) => {
            if (value === null || value === undefined || !Number.isFinite(value)) return;
            if (spec.y.log && value <= 0) return;
            low = Math.min(low, value);
            high = Math.max(high, value);
        };
        for (const layer of this.layers) {
            if (layer.kind === "mark") take(layer.y);
            if (layer.kind === "bars") layer.ys.forEach(take);
            else
                layer.xs?.forEach((x, place) => {
                    if (x < from || x > to) return;
                    take(layer.ys?.[place]);
                    take(layer.lows?.[place]);
                    take(layer.highs?.[place]);
                });
        }
        return roomy(low, high, { zero: spec.y.zero ?? true, log: spec.y.log });
    }

    axes(height) {
        const { spec } = this;
        const group = draw("g", {});
        const floor = height - BOTTOM;
        const yBy = this.unit.by;
        const yTicks = ticks(
            this.y.domain.map((value) => value / yBy),
            Math.max(2, Math.floor((height - TOP - BOTTOM) / 32)),
            spec.y.log,
        );
        const yWords = spec.y.words ? yTicks.map(spec.y.words) : tickWords(yTicks, spec.y.log);
        yTicks.forEach((tick, place) => {
            const at = Math.round(this.y(tick * yBy)) + 0.5;
            group.append(
                draw("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: at, y2: at }),
                draw("text", { x: LEFT - 6, y: at + 3.5, "text-anchor": "end" }, yWords[place]),
            );
        });
        const xBy = this.xUnit.by;
        const count = Math.max(2, Math.floor(this.width / 90));
        const xTicks = spec.x.ticks
            ? spec.x.ticks(this.x.domain)
            : ticks(
                  this.x.domain.map((value) => value / xBy),
                  count,
                  spec.x.log,
              ).map((tick) => tick * xBy);
        const xWords = spec.x.words
            ? xTicks.map(spec.x.words)
            : tickWords(
                  xTicks.map((tick) => tick / xBy),
                  spec.x.log,
              );
        // On a narrow page ticks keep their places, and a word that would touch its neighbour is left out.
        let taken = -Infinity;
        xTicks.forEach((tick, place) => {
            const at = Math.round(this.x(tick)) + 0.5;
            const near = at > this.width - RIGHT - 14 ? "end" : at < LEFT + 6 ? "start" : "middle";
            const x = near === "end" ? this.width - RIGHT : at;
            const width = xWords[place].length * LETTER;
            const from = x - { start: 0, middle: width / 2, end: width }[near];
            group.append(draw("line", { class: "axis", x1: at, x2: at, y1: floor, y2: floor + 4 }));
            if (from < taken + LETTER) return;
            taken = from + width;
            group.append(draw("text", { x, y: floor + 16, "text-anchor": near }, xWords[place]));
        });
        group.append(
            draw("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: floor + 0.5, y2: floor + 0.5 }),
        );
        const words = [spec.x.label, this.xUnit.unit ? `(${this.xUnit.unit})` : ""].join(" ").trim();
        group.append(draw("text", { x: this.width - RIGHT, y: floor + 28, "text-anchor": "end" }, words));
        return group;
    }

    layer(layer) {
        const tone = `tone-${layer.tone ?? 1}`;
        const at = (place, ys = layer.ys) => `${round(this.x(layer.xs[place]))} ${round(this.y(ys[place]))}`;
        const inside = (place) => this.inside(layer.xs, place);
        if (layer.kind === "line") {
            let path = "";
            let pen = "M";
            layer.ys?.forEach((value, place) => {
                if (value === null || value === undefined || !Number.isFinite(value)) {
                    pen = "M";
                    return;
                }
                if (!inside(place)) return;
                path +=
                    layer.step && pen === "L"
                        ? `H${round(this.x(layer.xs[place]))}V${round(this.y(value))}`
                        : `${pen}${at(place)}`;
                pen = "L";
            });
            return draw("path", { class: `line ${tone}`, d: path, "stroke-dasharray": layer.dash });
        }
        if (layer.kind === "band") {
            const there = [...layer.xs.keys()].filter(
                (place) => inside(place) && Number.isFinite(layer.lows[place]) && Number.isFinite(layer.highs[place]),
            );
            if (there.length === 0) return draw("path", { class: `band ${tone}` });
            const upper = there.map((place) => at(place, layer.highs));
            const lower = there.map((place) => at(place, layer.lows)).reverse();
            return draw("path", { class: `band ${tone}`, d: `M${upper.concat(lower).join("L")}Z` });
        }
        if (layer.kind === "dots") {
            let path = "";
            layer.xs.forEach((x, place) => {
                const value = layer.ys[place];
                if (value === null || value === undefined || x < this.x.domain[0] || x > this.x.domain[1]) return;
                path += `M${at(place)}h0`;
            });
            // Where many lie on each other, each is fainter.
            const opacity = layer.xs.length > 2000 ? 0.45 : layer.xs.length > 300 ? 0.7 : 1;
            return draw("path", {
                class: `dots ${tone}`,
                d: path,
                "stroke-width": layer.size ?? 3,
                "stroke-opacity": opacity,
            });
        }
        if (layer.kind === "bars") {
            const floor = this.y(this.y.log ? this.y.domain[0] : Math.max(0, this.y.domain[0]));
            let path = "";
            layer.ys.forEach((value, place) => {
                if (!(value > 0)) return;
                const [from, to] = [this.x(layer.edges[place]), this.x(layer.edges[place + 1])];
                path += `M${round(from)} ${round(floor)}V${round(this.y(value))}H${round(Math.max(to - 1, from + 0.5))}V${round(floor)}Z`;
            });
            return draw("path", { class: `bar ${tone}`, d: path });
        }
        if (layer.kind === "rug") {
            const floor = this.y(this.y.domain[0]);
            const path = layer.xs.map((x) => `M${round(this.x(x))} ${round(floor)}v-9`).join("");
            return draw("path", { class: `line ${tone}`, d: path });
        }
        if (layer.kind === "mark") {
            const upright = layer.x !== undefined;
            const place = upright ? this.x(layer.x) : this.y(layer.y);
            const [low, high] = upright
                ? [this.y(this.y.domain[0]), this.y(this.y.domain[1])]
                : [LEFT, this.width - RIGHT];
            return draw(
                "line",
                upright
                    ? { class: `mark ${tone}`, x1: place, x2: place, y1: low, y2: high }
                    : { class: `mark ${tone}`, x1: low, x2: high, y1: place, y2: place },
            );
        }
        return null;
    }

    /** Names of points, outside the clip so that none is cut. */
    labels() {
        const within = (layer) => layer.kind === "label" && layer.x >= this.x.domain[0] && layer.x <= this.x.domain[1];
        return this.layers.filter(within).map((layer) => {
            const x = this.x(layer.x);
            const anchor = x > this.width * 0.7 ? "end" : "start";
            return draw(
                "text",
                {
                    class: "label",
                    x: x + (anchor === "end" ? -7 : 7),
                    y: this.y(layer.y) - 6,
                    "text-anchor": anchor,
                },
                layer.text,
            );
        });
    }

    /** Whether a point or one of its neighbours is shown, so that lines run to the edge. */
    inside(xs, place) {
        const [from, to] = this.x.domain;
        return (xs[place + 1] ?? xs[place]) >= from && (xs[place - 1] ?? xs[place]) <= to;
    }

    writeCaption() {
        const { spec } = this;
        const unit = [spec.y.label, this.unit.unit].filter(Boolean).join(", ");
        const shown = this.layers.filter((layer) => layer.name);
        this.outputs = shown.map((layer) => ({ layer, output: make("output", {}) }));
        this.caption.replaceChildren(
            make("span", {}, make("b", {}, spec.title), " ", make("span", { class: "unit" }, unit)),
            ...this.outputs.map(({ layer, output }) =>
                make("span", { class: "legend" }, swatch(layer), layer.name, " ", output),
            ),
        );
    }

    /** Where keys can move the cursor to: the places of the first layer that has some, thinned. */
    stops() {
        const first =
            this.layers.find((layer) => layer.kind === "line" && layer.xs.length > 1) ??
            this.layers.find((layer) => layer.xs || layer.edges);
        let xs = first?.xs ?? [];
        if (first?.kind === "bars") xs = first.ys.map((_, place) => (first.edges[place] + first.edges[place + 1]) / 2);
        const [from, to] = this.zoom.domain;
        const shown = [...new Set(xs)].filter((x) => x >= from && x <= to).sort((one, other) => one - other);
        const every = Math.max(1, Math.ceil(shown.length / 300));
        return shown.filter((_, place) => place % every === 0);
    }

    /** Moves the rule to the cursor and writes the values there into the legend. */
    point() {
        if (!this.rule) return;
        const place = this.zoom.cursor;
        const there = place !== null && place >= this.zoom.domain[0] && place <= this.zoom.domain[1];
        this.rule.setAttribute("visibility", there ? "visible" : "hidden");
        if (there) {
            const at = round(this.x(place));
            this.rule.setAttribute("x1", at);
            this.rule.setAttribute("x2", at);
        }
        for (const { layer, output } of this.outputs) output.textContent = there ? this.valueAt(layer, place) : "";
    }

    valueAt(layer, place) {
        const words = (value) => (value === null || value === undefined ? "–" : `${short(value / this.unit.by)}`);
        if (layer.kind === "bars") {
            const bar = layer.ys.findIndex((_, at) => place >= layer.edges[at] && place <= layer.edges[at + 1]);
            return bar < 0 ? "–" : words(layer.ys[bar]);
        }
        if (!layer.xs || layer.xs.length === 0) return "";
        const nearest = this.nearest(layer.xs, place);
        if (layer.kind === "band") return `${words(layer.lows[nearest])} … ${words(layer.highs[nearest])}`;
        if (layer.kind === "dots" && layer.tell) return layer.tell(nearest, words);
        if (layer.kind === "rug") return "";
        return words(layer.ys[nearest]);
    }

    /** Of places in ascending order, which is nearest; of others likewise, more slowly. */
    nearest(xs, place) {
        let best = 0;
        let distance = Infinity;
        for (let at = 0; at < xs.length; at += 1) {
            const here = Math.abs(xs[at] - place);
            if (here < distance) [best, distance] = [at, here];
        }
        return best;
    }

    listen() {
        const { plot, zoom } = this;
        let begun = null;
        const place = (event) => {
            const box = plot.getBoundingClientRect();
            const pixel = Math.min(Math.max(event.clientX - box.left, LEFT), this.width - RIGHT);
            return this.x.back(pixel);
        };
        plot.addEventListener("pointermove", (event) => {
            if (!this.x) return;
            const at = place(event);
            zoom.point(at);
            if (begun === null) return;
            const [low, high] = [this.x(Math.min(begun, at)), this.x(Math.max(begun, at))];
            this.selection.setAttribute("x", low);
            this.selection.setAttribute("width", high - low);
            this.selection.setAttribute("visibility", high - low > 4 ? "visible" : "hidden");
        });
        plot.addEventListener("pointerdown", (event) => {
            if (event.button !== 0 || event.pointerType === "touch" || !this.x) return;
            begun = place(event);
            plot.setPointerCapture(event.pointerId);
        });
        plot.addEventListener("pointerup", (event) => {
            if (begun === null) return;
            const at = place(event);
            if (Math.abs(this.x(at) - this.x(begun)) > 4) zoom.show(begun, at);
            begun = null;
            this.selection.setAttribute("visibility", "hidden");
        });
        plot.addEventListener("pointercancel", () => {
            begun = null;
            this.selection?.setAttribute("visibility", "hidden");
        });
        plot.addEventListener("pointerleave", () => zoom.point(null));
        plot.addEventListener("dblclick", () => zoom.reset());
        plot.addEventListener("blur", () => zoom.point(null));
        plot.addEventListener("keydown", (event) => this.key(event));
    }

    key(event) {
        const { zoom } = this;
        if (event.ctrlKey || event.metaKey || event.altKey || !this.x) return;
        const middle = zoom.cursor ?? (zoom.domain[0] + zoom.domain[1]) / 2;
        const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (along && event.shiftKey) zoom.pan(along * 0.25);
        else if (along) this.step(along);
        else if (event.key === "Home") this.step(-Infinity);
        else if (event.key === "End") this.step(Infinity);
        else if (event.key === "+" || event.key === "=") zoom.around(middle, 0.5);
        else if (event.key === "-") zoom.around(middle, 2);
        else if (event.key === "0" || (event.key === "Escape" && zoom.isZoomed)) zoom.reset();
        else return;
        event.preventDefault();
        this.tell();
    }

    /** The cursor, so many stops further. */
    step(by) {
        const stops = this.stops();
        if (stops.length === 0) return;
        const { cursor } = this.zoom;
        let at = cursor === null ? (by > 0 ? -1 : stops.length) : this.nearest(stops, cursor);
        at = Math.min(Math.max(at + by, 0), stops.length - 1);
        this.zoom.point(stops[at]);
    }

    /** What a screen reader hears after a key. */
    tell() {
        const { cursor, domain } = this.zoom;
        const x = (value) => `${short(value / this.xUnit.by)} ${this.xUnit.unit}`;
        const values = this.outputs
            .map(({ layer, output }) => [layer.name, output.textContent])
            .filter(([, text]) => text !== "")
            .map(([name, text]) => `${name} ${text} ${this.unit.unit}`);
        say(
            cursor === null
                ? `${this.spec.x.label} ${x(domain[0])} to ${x(domain[1])}`
                : `${this.spec.x.words ? this.spec.x.words(cursor) : x(cursor)}: ${values.join(", ")}`,
        );
    }
}

function round(pixel) {
    return Math.round(pixel * 10) / 10;
}

function swatch(layer) {
    const tone = `tone-${layer.tone ?? 1}`;
    const shapes = {
        line: () => draw("path", { class: `line ${tone}`, d: "M0 4.5H18", "stroke-dasharray": layer.dash }),
        band: () => draw("rect", { class: `band ${tone}`, width: 18, height: 9 }),
        bars: () => draw("rect", { class: `bar ${tone}`, x: 4, width: 9, height: 9 }),
        dots: () => draw("path", { class: `dots ${tone}`, d: "M9 4.5h0", "stroke-width": 6 }),
        rug: () => draw("path", { class: `line ${tone}`, d: "M5 0v9M12 0v9" }),
        mark: () => draw("path", { class: `mark ${tone}`, d: "M0 4.5H18" }),
    };
    return draw("svg", { viewBox: "0 0 18 9", "aria-hidden": "true" }, shapes[layer.kind]?.());
}

/** Calls back with the width of an element, now and whenever it changes. */
const sizes = new Map();
const observer = new ResizeObserver((entries) => {
    // In the next frame: a chart that is drawn changes the height of what is observed.
    requestAnimationFrame(() => {
        for (const entry of entries) sizes.get(entry.target)?.(entry.contentRect.width);
    });
});

function watchSize(element, tell) {
    sizes.set(element, tell);
    observer.observe(element);
}

/** Draws all charts that have a place by now, without waiting to be told. */
function drawAll() {
    const widths = [...sizes].map(([element, tell]) => [tell, element.clientWidth]);
    for (const [tell, width] of widths) tell(width);
}

function chart(spec) {
    return new Chart(spec).figure;
}
