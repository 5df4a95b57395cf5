//! The front door: parse, run, print, leave with the right code.

use std::ffi::OsString;
use std::io::Write;

use bench_ci::{commands, error::Error, github::surfaces::Job};

fn main() -> std::process::ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut job = Job::begin(&argv);
    let result = commands::main(argv);
    job.unfold();
    let result = result.and_then(|done| print(&job.harmless(&done.stdout)).map(|()| done.exit));
    let leaving = match &result {
        Ok(exit) => *exit,
        Err(error) => {
            let mut message = format!("error: {}\n", error.chain());
            if let Some(hint) = error.hint() {
                message.push_str(&format!("hint: {hint}\n"));
            }
            // If stderr is gone too, the exit code is all that is left to say it with.
            drop(std::io::stderr().lock().write_all(job.harmless(&message).as_bytes()));
            error.exit_code()
        }
    };
    job.finish(leaving, result.err().map(|error| error.chain()).as_deref());
    leaving.into()
}

/// A reader that went away (`| head`) is no failure of ours; a full disk is.
fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::System { attempt: "write to stdout", source })
        }
        _ => Ok(()),
    }
}
