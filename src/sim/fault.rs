//! Every way in which the simulator can be made to misbehave, by flag or by request header.
//!
//! Main types: [`Fault`], one misbehaviour with its argument, and [`FaultSet`], those that act on
//! one request. It only names and reads them; `job` and `server` carry them out.

use std::fmt;
use std::str::FromStr;

/// The request header that asks for faults on that request alone: `kind[:arg][,kind[:arg]…]`.
pub const FAULT_HEADER: &str = "x-sim-fault";

/// One misbehaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Which.
    pub kind: FaultKind,
    /// Its numbers, in order; empty where the default applies.
    pub numbers: Vec<f64>,
    /// Its argument as it was typed; `None` without one.
    pub text: Option<String>,
}

/// When a fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acts {
    /// While the simulator starts, or on the whole process; not by header.
    OnTheProcess,
    /// On single requests.
    OnARequest,
}

macro_rules! fault_kinds {
    ($($variant:ident, $name:literal, $argument:literal, $acts:ident, $meaning:literal;)+) => {
        /// The kinds of misbehaviour. Their names are public and stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultKind {
            $(#[doc = $meaning] $variant,)+
        }

        impl FaultKind {
            /// Every kind, in the order of the help.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$variant,)+];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(FaultKind::$variant => $name,)+ }
            }

            /// The shape of the argument as the help shows it; empty where there is none.
            #[must_use]
            pub const fn argument(self) -> &'static str {
                match self { $(FaultKind::$variant => $argument,)+ }
            }

            /// When it acts.
            #[must_use]
            pub const fn acts(self) -> Acts {
                match self { $(FaultKind::$variant => Acts::$acts,)+ }
            }

            /// One line for the help.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(FaultKind::$variant => $meaning,)+ }
            }
        }
    };
}

fault_kinds! {
    SlowHeaders, "slow-headers", ":MS", OnARequest, "send the headers MS after the slot began, and the tokens later by as much";
    EarlyHeaders, "early-headers", "", OnARequest, "send the headers at once, before there is a slot";
    NoContentType, "no-content-type", "", OnARequest, "leave the Content-Type header out";
    Ping, "ping", "[:MS]", OnARequest, "send comment pings before the first token, which comes MS later";
    RoleOnly, "role-only", "[:MS]", OnARequest, "send the role delta with the headers, and the first content MS (50) later than else";
    Reasoning, "reasoning", "[:N]", OnARequest, "stream the first N (half of the) tokens as reasoning_content";
    ToolCalls, "tool-calls", "", OnARequest, "stream tool_calls instead of content";
    Coalesce, "coalesce", ":N", OnARequest, "write N events at once";
    MultiDelta, "multi-delta", ":N", OnARequest, "put the text of N tokens in one event";
    HalfUtf8, "half-utf8", "", OnARequest, "two tokens a character, and each character split over two writes";
    Crlf, "crlf", "", OnARequest, "end event lines with CR LF";
    SplitBytes, "split-bytes", "", OnARequest, "write each byte by itself";
    UsageInEveryChunk, "usage-in-every-chunk", "", OnARequest, "repeat the usage so far in each event";
    NoUsage, "no-usage", "", OnARequest, "leave usage and timings out";
    NoTerminator, "no-terminator", "", OnARequest, "leave the terminator out";
    NoFinish, "no-finish", "", OnARequest, "leave the finish reason out";
    Empty, "empty", "", OnARequest, "finish without any content";
    Short, "short", "[:N]", OnARequest, "stop after N (half of the) tokens, whatever was forced";
    Nan, "nan", "", OnARequest, "write NaN where an embedding or a score has a number";
    NotJson, "not-json", "[:K]", OnARequest, "after K (2) tokens send an event that is not JSON";
    BadChunkSize, "bad-chunk-size", "[:K]", OnARequest, "after K (2) tokens send a chunk size that is not a number";
    ErrorBefore, "error-before", "[:CODE]", OnARequest, "answer CODE (500) with a JSON error instead of a stream";
    Status, "status", ":CODE", OnARequest, "answer with this status, such as 429, 500, 503";
    ErrorInStream, "error-in-stream", "[:K]", OnARequest, "after K (2) tokens send an error event inside the 200, then end";
    Cut, "cut", "[:K]", OnARequest, "after K (2) tokens end the stream cleanly without finish or terminator";
    CutRaw, "cut-raw", "[:K]", OnARequest, "after K (2) tokens close in the middle of a chunk";
    Reset, "reset", "[:K]", OnARequest, "after K (2) tokens reset the connection";
    HangBefore, "hang-before", "", OnARequest, "never answer";
    HangMid, "hang-mid", "[:K]", OnARequest, "after K (2) tokens never send again";
    Crash, "crash", "[:K]", OnARequest, "abort the process when request K (this one) has its first token";
    Stall, "stall", ":MS[:AT_S]", OnARequest, "stop the whole server for MS, once, AT_S (1) after the first request";
    RefuseStop, "refuse-stop", "", OnTheProcess, "ignore SIGINT and SIGTERM";
    DieAtStart, "die-at-start", "[:MESSAGE]", OnTheProcess, "log MESSAGE and exit 1 while loading";
    NeverHealthy, "never-healthy", "", OnTheProcess, "load for ever";
    SlowLoad, "slow-load", ":MS", OnTheProcess, "load for MS";
    ListenLate, "listen-late", ":MS", OnTheProcess, "bind the port after MS";
}

impl Fault {
    /// The first number, or `default` where none was given.
    #[must_use]
    pub fn number_or(&self, default: f64) -> f64 {
        self.numbers.first().copied().unwrap_or(default)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.name())?;
        match &self.text {
            Some(text) => write!(formatter, ":{text}"),
            None => Ok(()),
        }
    }
}

/// Why a fault could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such kind.
    #[error("no fault is called \"{name}\"{}", .near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    Unknown {
        /// What was typed.
        name: String,
        /// The nearest known name, if one is near.
        near: Option<&'static str>,
    },
    /// The argument is missing, not wanted or not a number.
    #[error("fault \"{name}\" is written \"{name}{shape}\", got \"{got}\"")]
    Argument {
        /// The kind.
        name: &'static str,
        /// The shape that is expected.
        shape: &'static str,
        /// What was typed.
        got: String,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(typed: &str) -> Result<Self, FaultError> {
        let typed = typed.trim();
        let (name, text) = match typed.split_once(':') {
            Some((name, text)) => (name, Some(text.to_owned())),
            None => (typed, None),
        };
        let Some(&kind) = FaultKind::ALL.iter().find(|kind| kind.name() == name) else {
            let near = FaultKind::ALL
                .iter()
                .map(|kind| kind.name())
                .max_by(|a, b| {
                    strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
                })
                .filter(|near| strsim::jaro_winkler(name, near) > 0.8);
            return Err(FaultError::Unknown { name: name.to_owned(), near });
        };
        let shape = kind.argument();
        let wrong = || FaultError::Argument { name: kind.name(), shape, got: typed.to_owned() };
        let mut numbers = Vec::new();
        match &text {
            None if shape.starts_with(':') => return Err(wrong()),
            None => {}
            Some(_) if shape.is_empty() => return Err(wrong()),
            Some(_) if kind == FaultKind::DieAtStart => {}
            Some(text) => {
                for part in text.split(':') {
                    let number: f64 = part.parse().map_err(|_not_a_number| wrong())?;
                    if !number.is_finite() || number < 0.0 {
                        return Err(wrong());
                    }
                    numbers.push(number);
                }
                let most = if kind == FaultKind::Stall { 2 } else { 1 };
                if numbers.len() > most {
                    return Err(wrong());
                }
            }
        }
        Ok(Fault { kind, numbers, text })
    }
}

/// The faults that act on one request (or on the process).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultSet {
    faults: Vec<Fault>,
}

impl FaultSet {
    /// These faults, in this order.
    #[must_use]
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// Reads the value of [`FAULT_HEADER`].
    ///
    /// # Errors
    ///
    /// The first fault that could not be read, or that cannot act on a request.
    pub fn from_header(value: &str) -> Result<Self, FaultError> {
        let mut faults = Vec::new();
        for typed in value.split(',').filter(|typed| !typed.trim().is_empty()) {
            let fault: Fault = typed.parse()?;
            if fault.kind.acts() == Acts::OnTheProcess {
                return Err(FaultError::Unknown {
                    name: format!("{fault} (on a request)"),
                    near: None,
                });
            }
            faults.push(fault);
        }
        Ok(Self { faults })
    }

    /// Whether this kind is among them.
    #[must_use]
    pub fn has(&self, kind: FaultKind) -> bool {
        self.find(kind).is_some()
    }

    /// The first of this kind.
    #[must_use]
    pub fn find(&self, kind: FaultKind) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.kind == kind)
    }

    /// The first number of this kind, or `default` where it has none; `None` without the fault.
    #[must_use]
    pub fn number(&self, kind: FaultKind, default: f64) -> Option<f64> {
        self.find(kind).map(|fault| fault.number_or(default))
    }

    /// The names with their arguments, joined by commas; `None` when there are none.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        Some(self.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_what_it_prints() {
        for &kind in FaultKind::ALL {
            let typed = match kind.argument() {
                "" => kind.name().to_owned(),
                ":MS[:AT_S]" => "stall:30:2".to_owned(),
                "[:MESSAGE]" => "die-at-start:out of memory: 3 GiB".to_owned(),
                _ => format!("{}:7", kind.name()),
            };
            let fault: Fault = typed.parse().expect("a valid fault");
            assert_eq!(fault.kind, kind);
            assert_eq!(fault.to_string(), typed);
            if kind.argument().starts_with(':') {
                assert!(
                    kind.name().parse::<Fault>().is_err(),
                    "{} needs its argument",
                    kind.name()
                );
            } else {
                assert!(kind.name().parse::<Fault>().is_ok());
            }
        }
    }

    #[test]
    fn a_mistyped_kind_names_the_nearest_one() {
        let error = "coalesc:4".parse::<Fault>().expect_err("misspelt");
        assert_eq!(error.to_string(), "no fault is called \"coalesc\"; did you mean \"coalesce\"?");
        assert!("zzz".parse::<Fault>().expect_err("unknown").to_string().ends_with("\"zzz\""));
    }

    #[test]
    fn an_argument_must_be_what_the_kind_expects() {
        for typed in
            ["coalesce", "coalesce:x", "coalesce:-1", "crlf:1", "cut:1:2", "slow-headers:inf"]
        {
            assert!(typed.parse::<Fault>().is_err(), "{typed} was accepted");
        }
    }

    #[test]
    fn a_header_holds_several_faults_but_none_of_the_process() {
        let set = FaultSet::from_header("crlf, cut:3").expect("two faults");
        assert!(set.has(FaultKind::Crlf));
        assert_eq!(set.number(FaultKind::Cut, 2.0), Some(3.0));
        assert_eq!(set.number(FaultKind::Reset, 2.0), None);
        assert_eq!(set.label().as_deref(), Some("crlf,cut:3"));
        assert!(FaultSet::from_header("refuse-stop").is_err());
    }
}
