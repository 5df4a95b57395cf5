//! Which flags were typed, of those that have a value in any case.
//!
//! Main type: [`TypedFlags`]. It knows names only; what follows from one is `plan::resolve`'s.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

/// Flags of a server to be started that have a default or a variable: by the name of their field, and
/// as they are typed.
const NOTED: [(&str, &str); 5] = [
    ("server", "--server"),
    ("host", "--host"),
    ("port", "--port"),
    ("start_timeout", "--start-timeout"),
    ("stop_grace", "--stop-grace"),
];

/// Those of them that stood on the command line, as they are typed. Beside `--url` only these are a
/// mistake: a default is nobody's wish, and a variable may be there for other runs.
///
/// It stands before the flags that it tells of, for clap takes their values out of its matches.
#[derive(Debug, Clone, Default)]
pub struct TypedFlags(pub Vec<&'static str>);

impl FromArgMatches for TypedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |field: &str| matches.value_source(field) == Some(ValueSource::CommandLine);
        let flags = NOTED.into_iter().filter(|(field, _)| typed(field)).map(|(_, flag)| flag);
        Ok(Self(flags.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TypedFlags {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
