//! `cargo xtask <verb>`: everything that bench-ci's own repository needs done.
//!
//! Rust instead of shell scripts, so that the only tool to install is cargo. Workflows and
//! `.ci/run` call these verbs and hold no logic of their own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a console program: what it has to say goes to the terminal at once"
)]

mod chromium;
mod debian;
mod failure;
mod fixtures;
mod gate;
mod kept;
mod llama_server;
mod mermaid;
mod parts;
mod prometheus;
mod readers;
mod readme;
mod shell;
mod tally;
mod test;
mod workflows;

use std::process::ExitCode;

use failure::{Failure, Result};
use parts::Scope;

const HELP: &str = "\
cargo xtask <verb>

  test               get what the tests need, run every test, end with one line: N passed, N failed
  ci                 the gate: fmt, clippy, docs, workflows, generated files, then test
  llama-server       get the real llama-server that the tests use, and print its path
  mermaid            the same for the real Mermaid, which parses our charts in the tests
  readers            the same for a Python with the libraries that read our files in the tests
  chromium           the same for a real browser, which opens our pages in the tests
  prometheus         the same for Debian's Prometheus, promtool and Pushgateway
  record-fixtures    record a real llama-server's bytes into tests/fixtures/llama-server
  schema             write schema/ anew from the types
  splice-readme      run the release binary and put its real output into README.md

  test, ci:          --without PART           leave out, and count as skipped, the tests that need
                                              llama-server, mermaid, readers, chromium or prometheus
  record-fixtures:   --model FILE             a GGUF to serve, instead of a synthetic one made for it
  splice-readme:     --check                  only see that the place for the output is there and filled

These parts are kept in $BENCH_CI_CACHE, else $XDG_CACHE_HOME/bench-ci, else ~/.cache/bench-ci.
To run some tests by hand: BENCH_CI_TEST_LLAMA_SERVER=$(cargo xtask llama-server) cargo test NAME";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the verb. `Ok` may still be a failure that has already been told.
fn dispatch(args: &[String]) -> Result<ExitCode> {
    let (verb, rest) = match args.split_first() {
        None => ("help", args),
        // Whoever asks a verb for help must not start an hour of work, or read an error.
        Some(_) if args.iter().any(|word| word == "--help" || word == "-h") => ("help", args),
        Some((verb, rest)) => (verb.as_str(), rest),
    };
    match verb {
        "test" => Ok(closing(&test::run(&Scope::from_flags(rest)?))),
        "ci" => Ok(closing(&gate::run(&Scope::from_flags(rest)?))),
        "record-fixtures" => {
            let model = match rest {
                [] => None,
                [flag, file] if flag == "--model" => Some(file.into()),
                _ => return Err(unexpected(rest)),
            };
            fixtures::record(model)?;
            Ok(ExitCode::SUCCESS)
        }
        "schema" => {
            nothing_more(rest)?;
            gate::write_schema()?;
            Ok(ExitCode::SUCCESS)
        }
        "splice-readme" => {
            match rest {
                [] => readme::splice()?,
                [flag] if flag == "--check" => readme::check()?,
                _ => return Err(unexpected(rest)),
            }
            Ok(ExitCode::SUCCESS)
        }
        "help" => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        name if let Some(part) = parts::part(name) => {
            nothing_more(rest)?;
            println!("{}", (part.ensure)()?.display());
            Ok(ExitCode::SUCCESS)
        }
        other => Err(Failure::new(format!("unknown verb \"{other}\""))
            .hint("cargo xtask help lists the verbs")),
    }
}

/// The last line of `test` and `ci`, and the exit status that goes with it.
fn closing(tally: &tally::Tally) -> ExitCode {
    for name in &tally.failures {
        println!("failed: {name}");
    }
    println!("{}", tally.closing_line());
    if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn nothing_more(rest: &[String]) -> Result<()> {
    if rest.is_empty() { Ok(()) } else { Err(unexpected(rest)) }
}

fn unexpected(rest: &[String]) -> Failure {
    Failure::new(format!("unexpected argument \"{}\"", rest.join(" ")))
        .hint("cargo xtask help lists the verbs and their flags")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn help_is_given_wherever_it_is_asked_for() {
        for line in ["", "help", "--help", "ci --help", "test -h", "nothing --help"] {
            assert!(dispatch(&words(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn an_unknown_verb_is_an_error_that_names_it() {
        let failure = dispatch(&words("tset")).expect_err("no such verb");
        assert!(failure.to_string().contains("\"tset\""), "{failure}");
    }
}
