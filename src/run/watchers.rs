//! Who watches this run, from the output flags.

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;

use crate::cli::{LogFormat, OutputArgs, ProgressMode};
use crate::error::Error;
use crate::event::{Events, Listener};
use crate::watch::{JsonLines, LiveView, PlainLines};

/// The log of events in the output folder.
pub(crate) const EVENTS_FILE: &str = "events.jsonl";

/// The listeners of a run: one for the person (unless told not to), one for the folder.
pub(crate) fn listen(args: &OutputArgs, out_dir: &Path) -> Result<Events, Error> {
    let path = out_dir.join(EVENTS_FILE);
    let log =
        File::create(&path).map_err(|source| Error::Output { attempt: "write", path, source })?;
    let mut listeners: Vec<Box<dyn Listener>> = vec![Box::new(JsonLines::new(log))];
    listeners.extend(person(args));
    Ok(Events::new(listeners))
}

/// The listener for the person alone, for what leaves no log of its own.
pub(crate) fn person_alone(progress: ProgressMode, quiet: bool) -> Events {
    let shown = !quiet && progress != ProgressMode::None;
    Events::new(shown.then(|| lines(progress, false)).into_iter().collect())
}

fn person(args: &OutputArgs) -> Option<Box<dyn Listener>> {
    if args.quiet || args.progress == ProgressMode::None {
        return None;
    }
    if args.log_format == LogFormat::Json {
        return Some(Box::new(JsonLines::new(std::io::stderr())));
    }
    Some(lines(args.progress, args.verbose))
}

fn lines(progress: ProgressMode, verbose: bool) -> Box<dyn Listener> {
    let live = progress == ProgressMode::Auto
        && std::io::stderr().is_terminal()
        && !in_ci()
        && !console::is_dumb(); // it would show the codes that move its cursor
    if live { Box::new(LiveView::new(verbose)) } else { Box::new(PlainLines::new(verbose)) }
}

/// A CI log keeps every redrawn line, even where its stderr claims to be a terminal.
fn in_ci() -> bool {
    std::env::var_os("CI")
        .is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}
