//! The front door: parse, run, print, leave with the right code.

use std::ffi::OsString;
use std::io::Write;

use bench_ci::{commands, exit::ExitCode, github::surfaces::Job};

fn main() -> std::process::ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut job = Job::begin(&argv);
    let result = commands::main(argv);
    job.unfold();
    let leaving = match &result {
        Ok(done) => {
            let text = job.harmless(&done.stdout);
            // A reader that went away (`| head`) is no failure of ours; a full disk is.
            match std::io::stdout().lock().write_all(text.as_bytes()) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::Tool,
                _ => done.exit,
            }
        }
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
