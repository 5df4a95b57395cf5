// The part of an axis that several charts show together, and the place that is pointed at.

class Zoom {
    constructor(full) {
        this.full = full;
        this.domain = full;
        this.cursor = null;
        this.charts = new Set();
    }

    get isZoomed() {
        return this.domain[0] > this.full[0] || this.domain[1] < this.full[1];
    }

    /** Shows a part; what lies outside the whole is cut off, and no part is smaller than a thousandth. */
    show(from, to) {
        const [low, high] = this.full;
        const least = (high - low) / 1000;
        let [begin, end] = from <= to ? [from, to] : [to, from];
        if (end - begin < least) {
            const middle = (begin + end) / 2;
            [begin, end] = [middle - least / 2, middle + least / 2];
        }
        const domain = [Math.max(low, begin), Math.min(high, end)];
        if (!(domain[1] > domain[0])) return;
        this.domain = domain;
        for (const chart of this.charts) chart.redraw();
    }

    reset() {
        this.show(...this.full);
    }

    /** By this factor around a place; below 1 shows less. */
    around(place, factor) {
        const [from, to] = this.domain;
        this.show(place - (place - from) * factor, place + (to - place) * factor);
    }

    /** By a share of what is shown. */
    pan(share) {
        const [from, to] = this.domain;
        const span = to - from;
        const move = Math.max(this.full[0] - from, Math.min(this.full[1] - to, span * share));
        this.show(from + move, to + move);
    }

    point(place) {
        this.cursor = place;
        for (const chart of this.charts) chart.point();
    }
}
