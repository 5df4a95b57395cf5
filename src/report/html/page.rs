//! The page around the figures: its head, its first lines, its data and its scripts.
//!
//! Main functions: [`document`], any page of ours, and [`render`], one that draws. Nothing is fetched:
//! the policy in the head allows the style and the script that stand there, by their digests, and
//! nothing else. Every text from outside is escaped here or stands in the data, which is never markup.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::report::escape::{clean, html};

/// Colours, type and tables: of every page of ours.
pub(crate) const BASE_STYLE: &str = include_str!("base.css");

const STYLE: &str = concat!(include_str!("base.css"), include_str!("page.css"));

/// One script in one scope, in the order in which the parts need each other.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("dom.js"),
    include_str!("words.js"),
    include_str!("scale.js"),
    include_str!("zoom.js"),
    include_str!("chart.js"),
    include_str!("tables.js"),
    include_str!("course.js"),
    include_str!("latency.js"),
    include_str!("waterfall.js"),
    include_str!("run.js"),
    include_str!("ab.js"),
    include_str!("suite.js"),
    include_str!("main.js"),
    "})();\n"
);

/// How the first line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Careful,
    Bad,
}

impl Tone {
    pub(super) const fn at_best_careful(self) -> Self {
        match self {
            Tone::Good | Tone::Careful => Tone::Careful,
            Tone::Bad => Tone::Bad,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Careful => "careful",
            Tone::Bad => "bad",
        }
    }
}

/// What stands at the top.
pub(super) struct Lead {
    pub(super) tone: Tone,
    /// The verdict in a word.
    pub(super) word: String,
    /// And in a sentence, without final full stop.
    pub(super) sentence: String,
    pub(super) name: String,
    pub(super) tags: Vec<(&'static str, String)>,
}

/// The whole page, ending with a line end.
pub(super) fn render(lead: &Lead, mut data: Value) -> String {
    clean_all(&mut data);
    let tags: String = lead
        .tags
        .iter()
        .map(|(name, tag)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", html(tag)))
        .collect();
    let body = format!(
        "<a class=\"skip\" href=\"#page\">Skip to the figures</a>\n\
         <header>\n<h1 class=\"verdict {}\"><b>{}</b> {}</h1>\n<p class=\"name\">{}</p>\n\
         <dl class=\"tags\">{tags}</dl>\n</header>\n<main id=\"page\" tabindex=\"-1\">\n\
         <noscript><p>The figures of this page are drawn by a script, and scripts are off. The same \
         figures are in the Markdown and JSON files beside it.</p></noscript>\n</main>\n\
         <footer class=\"faint\">bench-ci {}. This file is complete in itself and asks no network.</footer>\n\
         <script type=\"application/json\" id=\"data\">{}</script>\n",
        lead.tone.name(),
        html(&lead.word),
        html(&lead.sentence),
        html(&lead.name),
        env!("CARGO_PKG_VERSION"),
        inert(&data),
    );
    document(&format!("{}: {}", lead.word, lead.name), STYLE, Some(SCRIPT), &body)
}

/// A page with this style and, at its end, this script; `title` is escaped here, `body` is markup.
pub(crate) fn document(title: &str, style: &str, script: Option<&str>, body: &str) -> String {
    let scripts =
        script.map_or_else(String::new, |text| format!(" script-src '{}';", digest(text)));
    let script = script.map_or_else(String::new, |text| format!("<script>{text}</script>\n"));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';{scripts} \
         style-src '{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · bench-ci</title>\n<style>{style}</style></head>\n<body>\n{body}{script}</body></html>\n",
        digest(style),
        html(title),
    )
}

/// As a policy names an inline text.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// JSON that no parser of HTML can take for markup, and that is still the same JSON.
fn inert(data: &Value) -> String {
    let mut text = String::new();
    for character in data.to_string().chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            other => text.push(other),
        }
    }
    text
}

/// Takes what is invisible, and what turns the direction of text round, out of every string.
fn clean_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(items) => items.iter_mut().for_each(clean_all),
        Value::Object(object) => {
            *object = std::mem::take(object)
                .into_iter()
                .map(|(name, mut value)| {
                    clean_all(&mut value);
                    (clean(&name), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_cannot_leave_its_element_and_reads_the_same() {
        let hostile = json!({"a</script><script>alert(1)</script>": ["<!--", "&lt;", "\u{2028}"]});
        let text = inert(&hostile);
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), hostile);
    }

    #[test]
    fn nothing_invisible_reaches_the_page() {
        let mut data = json!({"\u{202e}key": ["\u{1b}[31m", {"b": "line\nnext"}], "n": 1.5});
        clean_all(&mut data);
        assert_eq!(data, json!({" key": [" [31m", {"b": "line next"}], "n": 1.5}));
    }

    /// Guards the page itself: a script that ends its element early would be cut in two.
    #[test]
    fn the_scripts_and_styles_stay_in_their_elements() {
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
        for api in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(api), "{api}");
        }
    }

    #[test]
    fn the_policy_allows_nothing_but_what_stands_there() {
        let page = document("t", "p{}", Some("1;"), "");
        assert!(page.contains("default-src 'none'; script-src 'sha256-"), "{page}");
        assert!(!page.contains("unsafe"), "{page}");
        assert!(document("t", "p{}", None, "").contains("default-src 'none'; style-src"));
    }
}
