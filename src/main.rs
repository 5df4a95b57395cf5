//! The front door: parse, run, print, leave with the right code.

use std::io::Write;

use bench_ci::{commands, exit::ExitCode};

fn main() -> std::process::ExitCode {
    let leaving = match commands::main(std::env::args_os().collect()) {
        Ok(done) => {
            // A reader that went away (`| head`) is no failure of ours; a full disk is.
            match std::io::stdout().lock().write_all(done.stdout.as_bytes()) {
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
            drop(std::io::stderr().lock().write_all(message.as_bytes()));
            error.exit_code()
        }
    };
    leaving.into()
}
