//! Prompts of asked lengths, as they are typed: `synthetic:input=512,output=128`.
//!
//! Main types: [`SyntheticSpec`] and [`Lengths`]. Nothing is drawn here; that is `dataset`'s.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::problem::nearest;

/// Longest prompt or answer that can be asked for, in tokens; ten times the longest context there is.
const MOST_TOKENS: u64 = 10_000_000;

/// The keys, in the order in which they are written.
const KEYS: [&str; 5] = ["input", "output", "prefix", "prefix_groups", "count"];

/// Prompts that are made on the spot, of random tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyntheticSpec {
    /// Length of each prompt in tokens, the shared prefix not counted.
    pub input: Lengths,
    /// Length of each answer in tokens; `None`: the workload's budget.
    pub output: Option<Lengths>,
    /// Tokens in front of each prompt that it shares with all others of its group; 0 shares none.
    pub prefix: u64,
    /// Different prefixes, at least 1; prompts take them in turn.
    pub prefix_groups: u64,
    /// Different prompts, after which they go round; `None`: as many as the run asks for by number, at
    /// most [`SyntheticSpec::MOST_PROMPTS`], else [`SyntheticSpec::DEFAULT_COUNT`].
    pub count: Option<u64>,
}

impl SyntheticSpec {
    /// Different prompts where nobody says how many: enough for a prompt cache not to matter.
    pub const DEFAULT_COUNT: u64 = 512;

    /// Most different prompts: all of them are made before the first is sent.
    pub const MOST_PROMPTS: u64 = 1_000_000;
}

/// How lengths are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "spread", rename_all = "snake_case")]
pub enum Lengths {
    /// All the same.
    Fixed {
        /// Tokens, at least 1.
        tokens: u64,
    },
    /// Every whole number of the range equally often.
    Uniform {
        /// Shortest, at least 1.
        from: u64,
        /// Longest, itself included.
        to: u64,
    },
    /// The normal distribution, rounded to whole tokens; what falls below 1 is drawn again.
    Normal {
        /// Mean in tokens, at least 1.
        mean: f64,
        /// Standard deviation in tokens.
        stddev: f64,
    },
    /// The log-normal distribution, rounded to whole tokens, at least 1.
    LogNormal {
        /// Mean of the lengths themselves (not of their logarithms) in tokens, at least 1.
        mean: f64,
        /// Standard deviation of the lengths themselves in tokens.
        stddev: f64,
    },
}

impl FromStr for SyntheticSpec {
    /// A fragment that says what was expected.
    type Err = String;

    /// What stands after `synthetic:`; a comma before a part without `=` belongs to the value, as in
    /// `input=normal:512,128,output=64`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            match (part.split_once('='), pairs.last_mut()) {
                (Some((key, value)), _) => {
                    pairs.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part);
                }
                (None, None) => {
                    return Err(format!(
                        "expected KEY=VALUE instead of \"{part}\", such as synthetic:input=512,output=128"
                    ));
                }
            }
        }
        let mut spec = Self {
            input: Lengths::Fixed { tokens: 0 },
            output: None,
            prefix: 0,
            prefix_groups: 1,
            count: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in &pairs {
            let of_key = |problem: String| format!("{key}={value}: {problem}");
            let lengths = || value.parse::<Lengths>().map_err(of_key);
            let number = |most: u64| match value.parse::<u64>() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(of_key(format!("expected a whole number from 1 to {most}"))),
            };
            match key.as_str() {
                "input" => spec.input = lengths()?,
                "output" => spec.output = Some(lengths()?),
                "prefix" => spec.prefix = number(MOST_TOKENS)?,
                "prefix_groups" => spec.prefix_groups = number(Self::MOST_PROMPTS)?,
                "count" => spec.count = Some(number(Self::MOST_PROMPTS)?),
                unknown => {
                    let near = nearest(unknown, KEYS)
                        .map(|near| format!("; did you mean \"{near}\"?"))
                        .unwrap_or_default();
                    return Err(format!(
                        "\"{unknown}\" is no key of it: {}{near}",
                        KEYS.join(", ")
                    ));
                }
            }
            if seen.contains(&key.as_str()) {
                return Err(format!("{key} stands twice"));
            }
            seen.push(key);
        }
        if !seen.contains(&"input") {
            return Err("input is missing, such as synthetic:input=512,output=128".to_owned());
        }
        if seen.contains(&"prefix_groups") && spec.prefix == 0 {
            return Err("prefix_groups needs prefix, the length that a group shares".to_owned());
        }
        Ok(spec)
    }
}

impl fmt::Display for SyntheticSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, prefix, prefix_groups, count } = self;
        write!(formatter, "input={input}")?;
        if let Some(output) = output {
            write!(formatter, ",output={output}")?;
        }
        if *prefix > 0 {
            write!(formatter, ",prefix={prefix},prefix_groups={prefix_groups}")?;
        }
        count.map_or(Ok(()), |count| write!(formatter, ",count={count}"))
    }
}

impl FromStr for Lengths {
    /// A fragment that says what was expected.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text.split_once(':').unwrap_or(("fixed", text));
        let whole = |text: &str| {
            let found = text.trim().parse::<u64>().ok();
            found.filter(|tokens| (1..=MOST_TOKENS).contains(tokens))
        };
        match name.trim() {
            "fixed" => whole(rest).map(|tokens| Lengths::Fixed { tokens }).ok_or_else(|| {
                format!(
                    "expected tokens from 1 to {MOST_TOKENS}, uniform:FROM-TO, normal:MEAN,STDDEV or \
                     lognormal:MEAN,STDDEV"
                )
            }),
            "uniform" => match rest.split_once(['-', ',', '–']).map(|(a, b)| (whole(a), whole(b))) {
                Some((Some(from), Some(to))) if from <= to => Ok(Lengths::Uniform { from, to }),
                _ => Err("expected uniform:FROM-TO, such as uniform:100-900".to_owned()),
            },
            name @ ("normal" | "lognormal") => {
                let (mean, stddev) = mean_and_stddev(rest)
                    .ok_or_else(|| format!("expected {name}:MEAN,STDDEV, such as {name}:512,128"))?;
                Ok(if name == "normal" {
                    Lengths::Normal { mean, stddev }
                } else {
                    Lengths::LogNormal { mean, stddev }
                })
            }
            other => {
                let near = nearest(other, ["fixed", "uniform", "normal", "lognormal"])
                    .map(|near| format!("; did you mean \"{near}\"?"))
                    .unwrap_or_default();
                Err(format!("expected fixed, uniform, normal or lognormal{near}"))
            }
        }
    }
}

fn mean_and_stddev(text: &str) -> Option<(f64, f64)> {
    let (mean, stddev) =
        ["±", "+-", ","].into_iter().find_map(|separator| text.split_once(separator))?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (mean, stddev) = (number(mean)?, number(stddev)?);
    let most = MOST_TOKENS as f64;
    ((1.0..=most).contains(&mean) && (0.0..=most).contains(&stddev)).then_some((mean, stddev))
}

impl fmt::Display for Lengths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lengths::Fixed { tokens } => write!(formatter, "{tokens}"),
            Lengths::Uniform { from, to } => write!(formatter, "uniform:{from}-{to}"),
            Lengths::Normal { mean, stddev } => write!(formatter, "normal:{mean},{stddev}"),
            Lengths::LogNormal { mean, stddev } => write!(formatter, "lognormal:{mean},{stddev}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "input=512",
            "input=512,output=128",
            "input=uniform:100-900,output=normal:64,8",
            "input=normal:512,128.5,output=lognormal:128,64,count=9",
            "input=1,prefix=256,prefix_groups=4",
        ] {
            let spec: SyntheticSpec = text.parse().expect(text);
            assert_eq!(spec.to_string(), text);
        }
        let same = [
            ("input=fixed:512", "input=512"),
            (" input = normal:512±128 , output=1", "input=normal:512,128,output=1"),
            ("input=normal:512+-128", "input=normal:512,128"),
            ("output=5,input=7", "input=7,output=5"),
            ("input=7,prefix=3", "input=7,prefix=3,prefix_groups=1"),
        ];
        for (typed, written) in same {
            let spec: SyntheticSpec = typed.parse().expect(typed);
            assert_eq!(spec.to_string(), written);
        }
    }

    #[test]
    fn what_makes_no_sense_says_what_was_expected() {
        for (text, expected) in [
            ("", "expected KEY=VALUE instead of \"\""),
            ("512", "expected KEY=VALUE instead of \"512\""),
            ("output=5", "input is missing"),
            ("input=0", "expected tokens from 1"),
            ("input=-5", "expected tokens from 1"),
            ("input=99999999999999999999", "expected tokens from 1"),
            ("input=uniform:9-3", "such as uniform:100-900"),
            ("input=uniform:0-3", "such as uniform:100-900"),
            ("input=normal:512", "such as normal:512,128"),
            ("input=normal:nan,1", "such as normal:512,128"),
            ("input=lognormal:5,inf", "such as lognormal:512,128"),
            ("input=norml:5,1", "did you mean \"normal\"?"),
            ("inptu=5", "did you mean \"input\"?"),
            ("input=5,input=6", "stands twice"),
            ("input=5,prefix=0", "prefix=0: expected a whole number from 1"),
            ("input=5,prefix_groups=2", "needs prefix"),
            ("input=5,count=0", "count=0: expected a whole number"),
        ] {
            let error = text.parse::<SyntheticSpec>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
