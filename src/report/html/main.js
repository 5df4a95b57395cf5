// From the data to the page.

/** Light, dark, or as the system says; remembered where the browser lets a file remember. */
function themeButton() {
    const root = document.documentElement;
    const dark = () =>
        (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const button = make("button", { type: "button", class: "theme" });
    const write = () => {
        button.textContent = dark() ? "Light" : "Dark";
        button.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
    };
    const remember = (act) => {
        try {
            return act();
        } catch {
            // A page from a file, or in a frame, may have no storage.
            return null;
        }
    };
    const before = remember(() => localStorage.getItem("bench-ci-theme"));
    if (before === "light" || before === "dark") root.dataset.theme = before;
    button.addEventListener("click", () => {
        root.dataset.theme = dark() ? "light" : "dark";
        remember(() => localStorage.setItem("bench-ci-theme", root.dataset.theme));
        write();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", write);
    write();
    return button;
}

function contents(sections) {
    return make(
        "nav",
        { "aria-label": "Contents" },
        sections
            .filter((part) => part.id)
            .map((part) => make("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)),
    );
}

function begin() {
    const data = JSON.parse(document.getElementById("data").textContent);
    const page = { run: runPage, ab: abPage, suite: suitePage }[data.kind];
    const sections = page(data).filter((part) => part !== null && part !== undefined);
    const main = document.getElementById("page");
    document.querySelector("header").append(themeButton(), contents(sections));
    main.append(
        ...sections,
        spoken,
        make(
            "p",
            { class: "hidden", id: "chart-keys" },
            "Arrow keys read the chart. Plus and minus zoom. Shift and an arrow move along. 0 shows all.",
        ),
    );
    drawAll();
    // On paper nothing can be opened.
    addEventListener("beforeprint", () => {
        for (const id of ["configuration", "outcomes", "log"]) {
            for (const details of document.querySelectorAll(`#${id} details`)) {
                details.build?.();
                details.open = true;
            }
        }
    });
    // From the begin of loading, all charts drawn, for who wants to know; see ci/html/interactive.sh.
    document.documentElement.dataset.interactiveMs = String(Math.round(performance.now()));
}

begin();
