// Elements. Text goes in as text and never as markup: every string of a report may be hostile.

/** An element with attributes and children; children are nodes, text, or nothing. */
function make(name, attributes = {}, ...children) {
    return furnish(document.createElement(name), attributes, children);
}

/** The same for drawings. */
function draw(name, attributes = {}, ...children) {
    return furnish(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function furnish(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== undefined && value !== null) element.setAttribute(name, String(value));
    }
    element.append(...children.flat().filter((child) => child !== undefined && child !== null));
    return element;
}

/** A section with its heading; nothing where there is nothing in it. */
function section(id, heading, ...children) {
    const parts = children.flat().filter((child) => child !== undefined && child !== null);
    if (parts.length === 0) return null;
    return make(
        "section",
        { id, "aria-labelledby": `${id}-heading` },
        make("h2", { id: `${id}-heading` }, heading),
        parts,
    );
}

function about(...words) {
    return make("p", { class: "about" }, words.join(" "));
}

/** A fold that makes its content when it is first opened. */
function fold(summary, build, open = false) {
    const details = make("details", {}, make("summary", {}, summary));
    let built = false;
    details.build = () => {
        if (!built) details.append(build());
        built = true;
    };
    details.addEventListener("toggle", () => details.open && details.build());
    if (open) {
        details.build();
        details.open = true;
    }
    return details;
}

/** A choice; `options` are [value, text]. */
function choice(label, options, chosen, change) {
    const select = make(
        "select",
        {},
        options.map(([value, text]) => make("option", { value }, text)),
    );
    select.value = chosen;
    select.addEventListener("change", () => change(select.value));
    return make("label", {}, label, select);
}

/** What a screen reader is told; nothing is seen. */
const spoken = make("div", { class: "hidden", role: "status", "aria-live": "polite" });

function say(text) {
    spoken.textContent = text;
}
