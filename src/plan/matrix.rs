//! What is swept: axes of values, and the cells that they span.
//!
//! Main types: [`Axis`], as it stands in `[matrix]` or behind `--sweep`, and [`Coordinate`], one value
//! of one axis. It knows the names of what can be swept, and nothing of servers or requests.

use serde::Serialize;

use super::problem::{nearest, quoted};

/// Most cells that are taken for meant; a mistake in a list is likelier above.
pub const MOST_CELLS: usize = 10_000;

/// What of a workload can be swept; everything else is a flag of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Knob {
    /// Concurrent users.
    Users,
    /// Requests per second of an open loop.
    Rate,
    /// Each answer's budget: the output length.
    MaxTokens,
    /// The longest prompt that is picked, in words.
    MaxPromptTokens,
    /// The longest prompt and answer that are picked, in words.
    MaxContext,
    /// Where prompts come from; a synthetic dataset's lengths are swept through it.
    Dataset,
    /// How many requests are measured.
    NPrompts,
    /// Everything random.
    Seed,
}

impl Knob {
    const ALL: [(&'static str, Knob); 8] = [
        ("users", Knob::Users),
        ("rate", Knob::Rate),
        ("max_tokens", Knob::MaxTokens),
        ("max_prompt_tokens", Knob::MaxPromptTokens),
        ("max_context", Knob::MaxContext),
        ("dataset", Knob::Dataset),
        ("n_prompts", Knob::NPrompts),
        ("seed", Knob::Seed),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, knob)| *knob)
    }

    /// The name in a file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, knob)| *knob == self).map_or("", |(name, _)| name)
    }

    /// What is wrong with a value of it, as an expectation.
    fn refuses(self, value: &str) -> Option<&'static str> {
        let whole =
            |most: u64| value.parse::<u64>().is_ok_and(|number| (1..=most).contains(&number));
        let (good, expected) = match self {
            Knob::Users | Knob::MaxTokens => {
                (whole(u64::from(u32::MAX)), "a whole number from 1 on")
            }
            Knob::NPrompts | Knob::MaxPromptTokens | Knob::MaxContext => {
                (whole(u64::MAX), "a whole number from 1 on")
            }
            Knob::Rate => (
                value.parse::<f64>().is_ok_and(|rate| rate.is_finite() && rate > 0.0),
                "a number above 0",
            ),
            Knob::Seed => (value.parse::<u64>().is_ok(), "a whole number"),
            Knob::Dataset => (!value.is_empty(), "a dataset"),
        };
        (!good).then_some(expected)
    }
}

/// One thing that a value of an axis sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Part of the workload.
    Workload {
        /// Which part.
        knob: Knob,
        /// As typed.
        value: String,
    },
    /// A long flag of the server, without its dashes.
    Flag {
        /// Such as `ubatch-size`.
        name: String,
        /// `None` is a flag without a value.
        value: Option<String>,
    },
}

/// What is swept, and through which values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// As typed: `users`, or a flag of the server, or `server` for several of them together.
    pub name: String,
    /// Never empty, no label twice.
    pub values: Vec<AxisValue>,
}

/// One value of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AxisValue {
    /// For tables and the names of cells.
    pub label: String,
    /// What it sets; empty for a flag that is left out.
    pub settings: Vec<Setting>,
}

/// A value as it was typed, before it is known what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A string or a number, as text.
    Text(String),
    /// `true` or `false`: a flag that is there or not.
    Switch(bool),
    /// Several flags of the server that change together.
    Flags(Vec<(String, Typed)>),
}

/// Where one cell stands on one axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coordinate {
    /// The axis.
    pub axis: String,
    /// The value.
    pub value: AxisValue,
}

/// The name of the axis whose values are sets of flags.
const SERVER: &str = "server";

impl Axis {
    /// An axis of these values.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment, and a hint.
    pub fn new(name: &str, typed: Vec<Typed>) -> Result<Self, (String, Option<String>)> {
        let plain = name.trim().trim_start_matches("--").to_owned();
        let known = plain.replace('-', "_");
        let knob = Knob::named(&known);
        if plain.is_empty() || plain.contains(char::is_whitespace) {
            return Err((format!("\"{name}\" is no name of anything"), None));
        }
        if knob.is_none() && plain != SERVER {
            let names = Knob::ALL.iter().map(|(name, _)| *name);
            // A flag that only resembles one of ours is a flag; a slip of a letter is not.
            let close = nearest(&known, names)
                .filter(|near| strsim::damerau_levenshtein(&known, near) <= 2);
            if let Some(near) = close {
                return Err((
                    format!("unknown axis \"{name}\""),
                    Some(format!(
                        "did you mean \"{near}\"? What is swept is a flag of the server or one of {}",
                        quoted(&Knob::ALL.map(|(name, _)| name))
                    )),
                ));
            }
        }
        if typed.is_empty() {
            return Err((format!("no values for \"{name}\""), None));
        }
        let name = if knob.is_some() { known } else { plain };
        let values = typed
            .into_iter()
            .map(|typed| value(&name, knob, typed))
            .collect::<Result<Vec<_>, _>>()?;
        for (position, value) in values.iter().enumerate() {
            if values.iter().take(position).any(|earlier| earlier.label == value.label) {
                return Err((
                    format!("\"{}\" stands twice among the values of \"{name}\"", value.label),
                    None,
                ));
            }
        }
        Ok(Self { name, values })
    }

    /// `NAME=V1,V2`, as behind `--sweep`.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment, and a hint.
    pub fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let Some((name, values)) = text.split_once('=') else {
            return Err((
                format!("invalid value \"{text}\": expected NAME=V1,V2"),
                Some("such as --sweep users=1,2,4 or --sweep ubatch-size=128,512".to_owned()),
            ));
        };
        let typed = values.split(',').map(str::trim).map(|value| match value {
            "true" => Typed::Switch(true),
            "false" => Typed::Switch(false),
            text => Typed::Text(text.to_owned()),
        });
        Self::new(name, typed.collect())
    }

    /// Whether it changes the server.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        Knob::named(&self.name).is_none()
    }

    /// The part of the workload that it sweeps; `None` for flags of the server.
    #[must_use]
    pub fn knob(&self) -> Option<Knob> {
        Knob::named(&self.name)
    }
}

fn value(
    name: &str,
    knob: Option<Knob>,
    typed: Typed,
) -> Result<AxisValue, (String, Option<String>)> {
    let wrong = |shown: &str, expected: &str| {
        Err((format!("invalid value \"{shown}\" for \"{name}\": expected {expected}"), None))
    };
    match (knob, typed) {
        (Some(knob), Typed::Text(value)) => match knob.refuses(&value) {
            Some(expected) => wrong(&value, expected),
            None => Ok(AxisValue {
                label: value.clone(),
                settings: vec![Setting::Workload { knob, value }],
            }),
        },
        (Some(_), Typed::Switch(switch)) => wrong(&switch.to_string(), "a number or a name"),
        (Some(_), Typed::Flags(_)) => wrong("{…}", "a number or a name"),
        (None, Typed::Flags(flags)) if name == SERVER => {
            let settings: Vec<Setting> =
                flags.iter().filter_map(|(name, typed)| flag(name, typed)).collect();
            let label = settings.iter().map(words).collect::<Vec<_>>().join(" ");
            let label = if label.is_empty() { "default".to_owned() } else { label };
            Ok(AxisValue { label, settings })
        }
        (None, _) if name == SERVER => Err((
            "the values of \"server\" are sets of flags".to_owned(),
            Some(
                "write server = [{ parallel = 2 }, { parallel = 4, ubatch-size = 128 }]".to_owned(),
            ),
        )),
        (None, Typed::Flags(_)) => wrong("{…}", "a value of the flag"),
        (None, Typed::Text(text)) if text.is_empty() => wrong("", "a value of the flag"),
        (None, typed) => {
            let label = match &typed {
                Typed::Text(text) => text.clone(),
                Typed::Switch(true) => "on".to_owned(),
                _ => "off".to_owned(),
            };
            Ok(AxisValue { label, settings: flag(name, &typed).into_iter().collect() })
        }
    }
}

fn flag(name: &str, typed: &Typed) -> Option<Setting> {
    // llama-server writes its long flags with dashes.
    let name = name.trim_start_matches("--").replace('_', "-");
    match typed {
        Typed::Text(text) => Some(Setting::Flag { name, value: Some(text.clone()) }),
        Typed::Switch(true) => Some(Setting::Flag { name, value: None }),
        Typed::Switch(false) | Typed::Flags(_) => None,
    }
}

fn words(setting: &Setting) -> String {
    match setting {
        Setting::Flag { name, value: Some(value) } => format!("{name}={value}"),
        Setting::Flag { name, value: None } => name.clone(),
        Setting::Workload { knob, value } => format!("{}={value}", knob.name()),
    }
}

/// Every combination, the last axis running fastest; of no axes, one cell without coordinates.
#[must_use]
pub fn cells(axes: &[Axis]) -> Vec<Vec<Coordinate>> {
    let mut cells: Vec<Vec<Coordinate>> = vec![Vec::new()];
    for axis in axes {
        cells = cells
            .iter()
            .flat_map(|cell| {
                axis.values.iter().map(move |value| {
                    let here = Coordinate { axis: axis.name.clone(), value: value.clone() };
                    cell.iter().cloned().chain([here]).collect()
                })
            })
            .collect();
    }
    cells
}

/// The inner axes over the outer ones: one of the same name replaces it where it stands.
#[must_use]
pub fn overlay(outer: &[Axis], inner: &[Axis]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = outer.to_vec();
    for axis in inner {
        match axes.iter_mut().find(|known| known.name == axis.name) {
            Some(known) => *known = axis.clone(),
            None => axes.push(axis.clone()),
        }
    }
    axes
}

/// The name of a cell, which is also that of its folder.
#[must_use]
pub fn name(scenario: Option<&str>, cell: &[Coordinate]) -> String {
    let parts = scenario.map(str::to_owned).into_iter();
    let parts = parts.chain(cell.iter().map(|here| match here.axis.as_str() {
        SERVER => here.value.label.clone(),
        axis => format!("{axis}={}", here.value.label),
    }));
    let name: String = parts
        .collect::<Vec<_>>()
        .join(",")
        .chars()
        .map(|letter| match letter {
            letter if letter.is_alphanumeric() || "=,._+-".contains(letter) => letter,
            _ => '_',
        })
        .collect();
    // A folder of dots would be another folder.
    let name = name.trim_start_matches('.').to_owned();
    if name.is_empty() { "cell".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(typed: &[&str]) -> Vec<Axis> {
        typed.iter().map(|text| Axis::parse(text).unwrap()).collect()
    }

    #[test]
    fn every_combination_is_a_cell_and_the_last_axis_runs_fastest() {
        let cells = cells(&axes(&["users=1,2", "ubatch-size=64,128"]));
        let names: Vec<String> = cells.iter().map(|cell| name(None, cell)).collect();
        assert_eq!(
            names,
            [
                "users=1,ubatch-size=64",
                "users=1,ubatch-size=128",
                "users=2,ubatch-size=64",
                "users=2,ubatch-size=128"
            ]
        );
        assert_eq!(super::cells(&[]).len(), 1);
    }

    #[test]
    fn a_name_with_dashes_is_the_same_knob_and_anything_else_is_a_flag() {
        let swept = axes(&["max-tokens=8", "flash-attn=on,off", "no-repack=true,false"]);
        assert_eq!(swept[0].knob(), Some(Knob::MaxTokens));
        assert!(swept[1].is_of_server());
        assert_eq!(
            swept[2].values[0].settings,
            [Setting::Flag { name: "no-repack".to_owned(), value: None }]
        );
        assert_eq!(swept[2].values[1].settings, []);
    }

    #[test]
    fn what_cannot_be_swept_is_refused_with_the_nearest_name() {
        for (typed, message, hint) in [
            ("user=1,2", "unknown axis \"user\"", Some("did you mean \"users\"?")),
            (
                "users=1,x",
                "invalid value \"x\" for \"users\": expected a whole number from 1 on",
                None,
            ),
            (
                "users=0",
                "invalid value \"0\" for \"users\": expected a whole number from 1 on",
                None,
            ),
            ("rate=-1", "invalid value \"-1\" for \"rate\": expected a number above 0", None),
            ("users=1,1", "\"1\" stands twice among the values of \"users\"", None),
            ("users", "invalid value \"users\": expected NAME=V1,V2", Some("such as")),
            (
                "parallel=",
                "invalid value \"\" for \"parallel\": expected a value of the flag",
                None,
            ),
        ] {
            let (found, found_hint) = Axis::parse(typed).unwrap_err();
            assert_eq!(found, message);
            match hint {
                Some(hint) => assert!(found_hint.unwrap().starts_with(hint), "{typed}"),
                None => assert_eq!(found_hint, None, "{typed}"),
            }
        }
    }

    #[test]
    fn sets_of_flags_change_together() {
        let set = |flags: &[(&str, &str)]| {
            let typed = |(name, value): &(&str, &str)| {
                ((*name).to_owned(), Typed::Text((*value).to_owned()))
            };
            Typed::Flags(flags.iter().map(typed).collect())
        };
        let axis = Axis::new(
            "server",
            vec![set(&[("parallel", "2")]), set(&[("parallel", "4"), ("ubatch_size", "128")])],
        );
        let cells = cells(&[axis.unwrap()]);
        assert_eq!(name(Some("short"), &cells[1]), "short,parallel=4_ubatch-size=128");
        assert_eq!(cells[1][0].value.settings.len(), 2);
    }

    #[test]
    fn a_name_is_no_path() {
        let axis = Axis::new("dataset", vec![Typed::Text("../../etc/passwd".to_owned())]).unwrap();
        assert_eq!(name(None, &cells(&[axis])[0]), "dataset=.._.._etc_passwd");
        assert_eq!(name(Some(".."), &[]), "cell");
    }
}
