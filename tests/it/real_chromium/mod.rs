//! `report.html` in a real Chromium: it draws, zooms, speaks, fits and prints, and nothing that a
//! report says becomes markup or a script.
//!
//! `cargo xtask test` gets the browser; by hand: `BENCH_CI_TEST_CHROMIUM=$(cargo xtask chromium)`.
//! Pictures of every page are kept in `target/tmp/report-html/` for people to look at.

mod browser;

use std::path::Path;

use serde_json::{Value, json};

use self::browser::Browser;
use crate::run::Bench;

/// A page may take this much.
const MOST_BYTES: u64 = 1_000_000;

/// Charts on the page, those of them that drew something, and the words of all axes.
const CHARTS: &str = "[...document.querySelectorAll('.plot')].map((plot) => ({
    drawn: [...plot.querySelectorAll('svg g path')].some((path) => (path.getAttribute('d') ?? '').length > 8),
    ticks: [...plot.querySelectorAll('text')].map((text) => text.textContent).join(' '),
    title: plot.parentElement.querySelector('b').textContent,
}))";

/// Every fold on the page opened, folds in folds too.
const OPEN_ALL: &str = "(() => { for (let round = 0; round < 3; round += 1) \
    for (const fold of document.querySelectorAll('details')) { fold.build?.(); fold.open = true; } })()";

fn charts(browser: &mut Browser) -> Vec<Value> {
    browser.ask(CHARTS).as_array().unwrap().clone()
}

fn assert_quiet(browser: &Browser) {
    assert_eq!(browser.complaints(), [""; 0]);
}

fn assert_drawn(browser: &mut Browser, least: usize) {
    let charts = charts(browser);
    assert!(charts.len() >= least, "{} charts: {charts:?}", charts.len());
    let empty: Vec<&Value> = charts.iter().filter(|chart| chart["drawn"] != true).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

/// Narrow, dark and on paper; pictures of all.
fn assert_fits(browser: &mut Browser, name: &str) {
    let background = "getComputedStyle(document.body).backgroundColor";
    browser.resize(1200);
    browser.emulate("screen", "light");
    browser.picture(&format!("{name}-light"));
    let light = browser.ask(background);
    browser.emulate("screen", "dark");
    browser.picture(&format!("{name}-dark"));
    assert_ne!(browser.ask(background), light, "dark is another colour");
    browser.emulate("print", "dark");
    assert_eq!(browser.ask(background), light, "paper is light");
    assert_eq!(browser.ask("getComputedStyle(document.querySelector('nav')).display"), "none");
    let printed = browser.call("Page.printToPDF", json!({"printBackground": true}));
    assert!(printed["data"].as_str().unwrap().len() > 20_000);
    browser.emulate("screen", "light");
    browser.resize(400);
    browser.picture(&format!("{name}-400"));
    // Against what is left beside a scroll bar.
    let wide = "(() => { const { scrollWidth, clientWidth } = document.documentElement;
        const out = [...document.querySelectorAll('body *')].filter((one) =>
            one.getBoundingClientRect().right > clientWidth + 1 && !one.closest('.scroll, pre'));
        return [scrollWidth - clientWidth, ...out.map((one) => one.outerHTML.slice(0, 120))]; })()";
    assert_eq!(browser.ask(wide), json!([0]), "nothing sticks out at 400 pixels");
    browser.resize(1200);
    // The toggle wins over the system, both ways.
    browser.ask("document.querySelector('.theme').click()");
    browser.settle();
    assert_ne!(browser.ask(background), light, "the toggle makes it dark");
    browser.ask("document.querySelector('.theme').click()");
    browser.settle();
    assert_eq!(browser.ask(background), light, "and light again");
}

fn size(page: &Path) -> u64 {
    std::fs::metadata(page).unwrap().len()
}

#[test]
fn ten_thousand_requests_are_drawn_zoomed_and_read_by_keys() {
    let bench = Bench::new();
    let ran = bench.run(
        "out",
        &[
            "--server",
            "sim",
            "--scenario",
            "brisk.toml",
            "--users",
            "32",
            "--parallel",
            "32",
            "--n-prompts",
            "10000",
            "--max-tokens",
            "4",
            "--duration",
            "150s",
            "--max-failed",
            "1000",
            "--max-lateness",
            "100",
            "--max-client-delay",
            "100",
            "--",
            "--sim-prefill-tps",
            "1000000",
            "--sim-decode-ms",
            "0.2",
            "--sim-jitter",
            "0.5",
            "--sim-fault",
            "error-before",
            "--sim-fault-every",
            "500",
        ],
    );
    let page = ran.out.join("report.html");
    assert!(size(&page) < MOST_BYTES, "{} bytes", size(&page));
    let mut browser = Browser::start();
    browser.resize(1200);
    browser.open(&page);
    assert_quiet(&browser);
    assert_drawn(&mut browser, 8);
    let first = browser.ask("document.querySelector('h1').textContent");
    assert!(first.as_str().unwrap().contains("made with the simulator"), "{first}");
    assert_eq!(browser.ask("Number(document.documentElement.dataset.interactiveMs) > 0"), true);

    // Keys: zoom in, all charts of the course change; read a value; show all again.
    let course = "[...document.querySelectorAll('#course .plot')]\
        .map((plot) => [...plot.querySelectorAll('text')].map((text) => text.textContent).join(' '))";
    let whole = browser.ask(course);
    browser.ask("document.querySelector('#course .plot').focus()");
    browser.press("+", Some("+"));
    browser.press("+", Some("+"));
    let zoomed = browser.ask(course);
    let (before, after) = (whole.as_array().unwrap(), zoomed.as_array().unwrap());
    assert!(before.len() >= 5 && before.len() == after.len());
    assert!(before.iter().zip(after).all(|(before, after)| before != after), "{zoomed}");
    browser.press("ArrowRight", None);
    let told = browser.ask("document.querySelector('[aria-live]').textContent");
    assert!(told.as_str().unwrap().contains("requests in flight"), "{told}");
    let values = browser.ask("document.querySelector('#course figcaption output').textContent");
    assert_ne!(values, "", "the legend tells the value at the cursor");
    browser.press("0", Some("0"));
    assert_eq!(browser.ask(course), whole);

    // The pointer: a drag on the third chart zooms all of them.
    let place = browser.ask(
        "(() => { const plot = document.querySelectorAll('#course .plot')[2]; \
         plot.scrollIntoView({ block: 'center' }); const box = plot.getBoundingClientRect(); \
         return [box.left, box.top, box.width, box.height]; })()",
    );
    let at = |share: f64| {
        let number = |index: usize| place[index].as_f64().unwrap();
        [number(0) + number(2) * share, number(1) + number(3) / 2.0]
    };
    browser.drag(at(0.4), at(0.6));
    let dragged = browser.ask(course);
    let changed = dragged.as_array().unwrap().iter().zip(before).all(|(now, then)| now != then);
    assert!(changed, "{dragged}");
    browser.picture("run-zoomed");
    browser.ask("[...document.querySelectorAll('#course button')].pop().click()");
    browser.settle();
    assert_eq!(browser.ask(course), whole);

    // Another metric, and the tables behind the charts.
    let bars = "document.querySelector('#latency svg g path').getAttribute('d')";
    let ttft = browser.ask(bars);
    browser.ask(
        "(() => { const one = document.querySelector('#latency select'); one.value = 'e2e_ms'; \
         one.dispatchEvent(new Event('change')); })()",
    );
    browser.settle();
    assert_ne!(browser.ask(bars), ttft);
    browser.ask("document.querySelector('#course details').open = true");
    browser.settle();
    let rows = browser.ask("document.querySelectorAll('#course details tbody tr').length");
    assert!(rows.as_u64().unwrap() > 3, "{rows}");
    let named = browser.ask(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.tabIndex === 0 && \
         document.getElementById(plot.getAttribute('aria-labelledby')).textContent.length > 3)",
    );
    assert_eq!(named, true, "every chart can be focused and has a name");
    for section in
        ["course", "metrics", "latency", "prompts", "slowest", "outcomes", "log", "configuration"]
    {
        let there = browser.ask(&format!("document.getElementById('{section}') !== null"));
        assert_eq!(there, true, "{section}");
    }
    assert_fits(&mut browser, "run");
    assert_quiet(&browser);
}

#[test]
fn a_comparison_shows_its_pairs_and_the_interval_as_it_narrowed() {
    let bench = Bench::new();
    let command = bench.command(&[
        "ab",
        "--server",
        "sim",
        "--users",
        "2",
        "--max-tokens",
        "24",
        "--progress",
        "none",
        "--head-args",
        "--sim-slowdown 60",
        "--budget",
        "60s",
        "--out-dir",
        "out",
    ]);
    let ran = bench.finish("out", command);
    let report: Value = serde_json::from_str(&ran.file("ab.json")).unwrap();
    let page = ran.out.join("report.html");
    assert!(size(&page) < MOST_BYTES, "{} bytes", size(&page));
    let mut browser = Browser::start();
    browser.resize(1200);
    browser.open(&page);
    assert_drawn(&mut browser, 1);
    // The last interval drawn is the one of the report, to what is written.
    let gate = &report["comparisons"][0];
    assert_eq!(gate["pairs_pct"].as_array().unwrap().len() as u64, gate["pairs"].as_u64().unwrap());
    let data = "JSON.parse(document.getElementById('data').textContent).courses";
    let last =
        browser.ask(&format!("{data}['{}'].narrowing.at(-1)", gate["metric"].as_str().unwrap()));
    for (drawn, written) in [
        (&last[1], &gate["change_pct"]),
        (&last[2], &gate["ci_pct"][0]),
        (&last[3], &gate["ci_pct"][1]),
    ] {
        let (drawn, written) = (drawn.as_f64().unwrap(), written.as_f64().unwrap());
        assert!((drawn - written).abs() <= 1e-3 * written.abs().max(1.0), "{drawn} {written}");
    }
    browser.ask(OPEN_ALL);
    browser.settle();
    assert_drawn(&mut browser, 2);
    assert_fits(&mut browser, "ab");
    assert_quiet(&browser);
}

#[test]
fn a_sweep_shows_a_heat_map_and_a_pareto_front() {
    let bench = Bench::new();
    let ran = bench.run(
        "out",
        &[
            "--server",
            "sim",
            "--scenario",
            "brisk.toml",
            "--max-lateness",
            "100",
            "--max-client-delay",
            "100",
            "--n-prompts",
            "24",
            "--sweep",
            "users=1,2,4",
            "--sweep",
            "max_tokens=4,16",
        ],
    );
    let page = ran.out.join("report.html");
    let mut browser = Browser::start();
    browser.resize(1200);
    browser.open(&page);
    assert_drawn(&mut browser, 1);
    let first = browser.ask("document.querySelector('h1').textContent");
    assert!(first.as_str().unwrap().contains("made with the simulator"), "{first}");
    let heat = "[...document.querySelectorAll('.heat td')].map((cell) => cell.textContent)";
    let shown = browser.ask(heat);
    assert_eq!(shown.as_array().unwrap().len(), 6, "{shown}");
    browser.ask(
        "(() => { const one = document.querySelector('#heat select'); one.selectedIndex += 1; \
         one.dispatchEvent(new Event('change')); })()",
    );
    assert_ne!(browser.ask(heat), shown, "another figure");
    let front = browser.ask("document.querySelectorAll('#pareto .label').length");
    assert!(front.as_u64().unwrap() >= 1, "{front}");
    let cell = browser.ask("document.querySelector('#cells a').getAttribute('href')");
    assert!(ran.out.join(cell.as_str().unwrap()).is_file(), "{cell}: a cell has a page of its own");
    assert_fits(&mut browser, "sweep");
    assert_quiet(&browser);
}

/// What would run, show a dialog or become an element, if it were ever taken for markup.
const HOSTILE: &str = "</script><script>window.pwned=1;alert(1)</script><img src=x onerror=\"alert(2)\">\
    <svg onload=alert(3)>\"'><iframe src=javascript:alert(4)></iframe>${alert(5)}";

/// Every string of the report that may hold anything, made hostile; the keys of maps too.
fn poisoned(report: &Value) -> Value {
    let reads =
        |value: &Value| serde_json::from_value::<bench_ci::artifact::Report>(value.clone()).is_ok();
    let mut poisoned = report.clone();
    let mut paths = Vec::new();
    strings(report, String::new(), &mut paths);
    for path in paths {
        let place = poisoned.pointer_mut(&path).unwrap();
        let before = std::mem::replace(place, json!(HOSTILE));
        if !reads(&poisoned) {
            *poisoned.pointer_mut(&path).unwrap() = before;
        }
    }
    poisoned["schema"] = report["schema"].clone();
    let metric = poisoned["metrics"]["ttft_ms"].clone();
    poisoned["metrics"][HOSTILE] = metric;
    poisoned["requests"]["by_finish_reason"][HOSTILE] = json!(3);
    poisoned["server_metrics"][HOSTILE] =
        json!({"first": 1.0, "last": 2.0, "unknown": {"delta": HOSTILE}});
    poisoned["client"]["valid"] = json!(false);
    poisoned["client"]["reasons"] = json!([{"code": HOSTILE, "message": HOSTILE}]);
    poisoned["run"]["causes"] = json!([HOSTILE]);
    poisoned
}

fn strings(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, format!("{path}/{index}"), found);
            }
        }
        Value::Object(object) => {
            for (name, item) in object {
                let name = name.replace('~', "~0").replace('/', "~1");
                strings(item, format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_that_a_report_says_becomes_markup_or_a_script() {
    let bench = Bench::new();
    let ran = bench.run(
        "out",
        &[
            "--server",
            "sim",
            "--scenario",
            "brisk.toml",
            "--users",
            "2",
            "--n-prompts",
            "12",
            "--max-lateness",
            "100",
            "--max-client-delay",
            "100",
            "--max-failed",
            "12",
            "--",
            "--sim-fault",
            "error-before",
            "--sim-fault-every",
            "4",
        ],
    );
    let report: Value = serde_json::from_str(&ran.file("report.json")).unwrap();
    std::fs::write(ran.out.join("report.json"), poisoned(&report).to_string()).unwrap();
    let rows: Vec<String> = ran
        .file("requests.jsonl")
        .lines()
        .map(|line| {
            let mut row: Value = serde_json::from_str(line).unwrap();
            if row["failure_detail"].is_string() {
                row["failure_detail"] = json!(HOSTILE);
            }
            row["finish_reason"] = json!(HOSTILE);
            row.to_string()
        })
        .collect();
    std::fs::write(ran.out.join("requests.jsonl"), rows.join("\n") + "\n").unwrap();
    std::fs::write(ran.out.join("server.log"), format!("{HOSTILE}\nerror: {HOSTILE}\n")).unwrap();
    let rendered = bench.finish("out", bench.command(&["report", "out", "--format", "html"]));
    assert_eq!(rendered.exit, 0, "{}", rendered.stderr);
    let page = bench.path("hostile.html");
    std::fs::write(&page, &rendered.stdout).unwrap();

    let mut browser = Browser::start();
    browser.resize(1200);
    browser.open(&page);
    browser.ask(OPEN_ALL);
    browser.settle();
    let injected = "[document.scripts.length, document.querySelectorAll(\
        'img, iframe, object, embed, link, form, [onload], [onerror], [onclick], [style*=url]').length, \
        typeof window.pwned]";
    assert_eq!(browser.ask(injected), json!([2, 0, "undefined"]));
    // It did arrive, as text, in all these places.
    for place in
        ["h1", ".name", ".tags", "#findings", "#metrics", "#outcomes", "#log", "#configuration"]
    {
        let text = browser.ask(&format!("document.querySelector('{place}').textContent"));
        assert!(text.as_str().unwrap().contains("<img src=x"), "{place}: {text}");
    }
    browser.picture("hostile");
    assert_quiet(&browser);
}

#[test]
fn a_report_alone_draws_what_it_can_and_says_why_the_rest_is_missing() {
    let bench = Bench::new();
    let ran = bench.run(
        "out",
        &[
            "--server",
            "sim",
            "--scenario",
            "brisk.toml",
            "--users",
            "2",
            "--n-prompts",
            "12",
            "--max-lateness",
            "100",
            "--max-client-delay",
            "100",
        ],
    );
    let alone = bench.path("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(ran.out.join("report.json"), alone.join("report.json")).unwrap();
    let rendered =
        bench.finish("alone", bench.command(&["report", "alone/report.json", "--format", "html"]));
    assert_eq!(rendered.exit, 0, "{}", rendered.stderr);
    let page = bench.path("alone.html");
    std::fs::write(&page, &rendered.stdout).unwrap();
    let mut browser = Browser::start();
    browser.open(&page);
    let text = browser.ask("document.body.textContent");
    for missing in
        ["there is no requests.jsonl beside the report", "there is no server.log beside the report"]
    {
        assert!(text.as_str().unwrap().contains(missing), "{missing}");
    }
    assert_drawn(&mut browser, 2);
    assert_quiet(&browser);
}

#[test]
fn a_run_that_measured_nothing_shows_why_and_the_log() {
    let bench = Bench::new();
    let ran = bench
        .run("out", &["--server", "sim", "--", "--sim-fault", "die-at-start:error: no such gpu"]);
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    let mut browser = Browser::start();
    browser.open(&ran.out.join("report.html"));
    let first = browser.ask("document.querySelector('h1').textContent");
    assert!(first.as_str().unwrap().starts_with("Failed nothing was measured"), "{first}");
    let log = browser.ask("document.querySelector('#log .marked').textContent");
    assert!(log.as_str().unwrap().contains("no such gpu"), "{log}");
    let text = browser.ask("document.getElementById('course').textContent");
    assert!(text.as_str().unwrap().contains("the run ended before the load began"), "{text}");
    assert_quiet(&browser);
}

#[test]
fn arrivals_and_phases_are_drawn_too() {
    let bench = Bench::new();
    let phases = "name = \"two\"\ndataset = \"builtin\"\nthink_time = \"0s\"\n[[phase]]\nname = \"calm\"\nusers = 1\nduration = \"1s\"\n\
                  [[phase]]\nname = \"busy\"\nusers = 3\nduration = \"1s\"\n";
    std::fs::write(bench.path("two.toml"), phases).unwrap();
    let mut browser = Browser::start();
    for (out, flags, wanted) in [
        ("open", &["--scenario", "brisk.toml", "--rate", "40", "--duration", "2s"][..], "Arrivals"),
        ("phases", &["--scenario", "two.toml", "--max-tokens", "8"][..], "Phases"),
    ] {
        let common = ["--server", "sim", "--max-lateness", "100", "--max-client-delay", "100"];
        let ran = bench.run(out, &[&common[..], flags].concat());
        browser.open(&ran.out.join("report.html"));
        let text = browser.ask("document.getElementById('page').textContent");
        assert!(text.as_str().unwrap().contains(wanted), "{out}: {} {text}", ran.stderr);
        assert_drawn(&mut browser, 3);
    }
    assert_quiet(&browser);
}
