//! From a command line to the room that carries it out, and back to text and an exit code.
//!
//! Main function: [`main`]. It joins `cli` with the rooms for the small commands; the main job
//! itself is [`crate::run`].

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};

use crate::cancel::Cancel;
use crate::cli::{BenchPyArgs, Cli, Command, ModelCommand};
use crate::error::Error;
use crate::event::Events;
use crate::exit::ExitCode;
use crate::{ab, calibrate, compare, doctor, github, history, model, run, server, show, sim};

/// What a command that worked leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// For stdout; ends with a line end unless empty.
    pub stdout: String,
    /// What the process leaves with; not always 0, for a run that worked can still be no evidence.
    pub exit: ExitCode,
}

impl Done {
    /// Text, and exit code 0.
    pub(crate) fn text(stdout: String) -> Self {
        Self { stdout, exit: ExitCode::Ok }
    }
}

/// Carries out one command line, `argv[0]` included.
///
/// # Errors
/// Whatever the rooms say; misuse of flags is printed by clap and comes back as exit code 2.
pub fn main(argv: Vec<OsString>) -> Result<Done, Error> {
    // Before clap: a variable that some flag of `run` cannot read must not keep the watchdog or the
    // simulator from starting.
    match argv.get(1).and_then(|word| word.to_str()) {
        Some(server::GUARD_COMMAND) => {
            // It has killed what it had to, or had nothing to do; nobody reads its exit code.
            let _exit = server::guard_main();
            return Ok(Done::text(String::new()));
        }
        Some("sim") => return Ok(simulate(argv.into_iter().skip(2).collect())),
        _ => {}
    }
    let cli = match parse(argv) {
        Ok(cli) => cli,
        Err(message) => return Ok(help_or_misuse(&message)),
    };
    match cli.command {
        None => run::main(&cli.run),
        Some(Command::Run(args)) => run::main(&args),
        Some(Command::Ab(args)) => ab::main(&args),
        Some(Command::Bisect(args)) => ab::bisect::main(&args),
        Some(Command::Doctor(args)) => doctor::main(&args),
        Some(Command::Calibrate(args)) => calibrate::main(&args),
        Some(Command::BenchPy(args)) => bench_py(&args),
        Some(Command::Report(args)) => show::main(&args),
        Some(Command::Comment(args)) => github::comment(&args),
        Some(Command::Compare(args)) => compare::main(&args),
        Some(Command::History(command)) => history::main(&command),
        Some(Command::Model(ModelCommand::Inspect { file })) => {
            Ok(Done::text(model::inspect(&file)?))
        }
        Some(Command::Model(ModelCommand::Make { shape, file })) => make_model(&shape, &file),
        Some(Command::Sim { args }) => Ok(simulate(args)),
        Some(Command::Completions { shell }) => Ok(Done::text(completions(shell))),
        Some(Command::Man) => manual(),
        Some(Command::Action) => {
            let env = |name: &str| std::env::var(name).ok();
            main(github::inputs::argv(&env, &|path| path.is_file())?)
        }
        Some(Command::Help { topic }) => help(&topic),
    }
}

fn simulate(args: Vec<OsString>) -> Done {
    // llama-server's own exit codes: 0 and 1 mean the same here.
    let exit = if sim::main(args) == 0 { ExitCode::Ok } else { ExitCode::Tool };
    Done { stdout: String::new(), exit }
}

/// The command line and the variables beside it, as clap reads them.
///
/// An empty variable counts as unset: a CI system sets those of absent inputs to nothing. The
/// variables of `run` are read for `run` alone, spelt out or not.
pub(crate) fn parse(argv: Vec<OsString>) -> Result<Cli, clap::Error> {
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let bare = argv.get(1).is_none_or(is_flag);
    let mut command = Cli::command()
        .mut_args(|arg| if bare { without_empty_variable(arg) } else { without_variable(arg) });
    for name in ["run", "ab", "bisect", "doctor", "bench-py"] {
        command = command.mut_subcommand(name, |sub| sub.mut_args(without_empty_variable));
    }
    Cli::from_arg_matches(&command.try_get_matches_from(spell_out(argv))?)
}

fn without_empty_variable(arg: clap::Arg) -> clap::Arg {
    let empty = arg.get_env().is_some_and(|name| {
        std::env::var_os(name).is_some_and(|value| value.as_encoded_bytes().trim_ascii().is_empty())
    });
    if empty { without_variable(arg) } else { arg }
}

pub(crate) fn without_variable(arg: clap::Arg) -> clap::Arg {
    arg.env(clap::builder::Resettable::Reset)
}

/// llama.cpp's tools write `-ngl 33`, which is no short flag that clap could know.
fn spell_out(argv: Vec<OsString>) -> Vec<OsString> {
    let mut verbatim = false;
    argv.into_iter()
        .map(|argument| {
            verbatim |= argument == "--";
            if !verbatim && argument == "-ngl" {
                OsString::from("--n-gpu-layers")
            } else {
                argument
            }
        })
        .collect()
}

fn help_or_misuse(message: &clap::Error) -> Done {
    if message.use_stderr() {
        // clap knows where its colours may go; if stderr is gone, the exit code still says it.
        drop(message.print());
        if let Some(variable) = variable_behind(message) {
            drop(writeln!(
                std::io::stderr(),
                "\nhint: that is the value of the variable {variable}"
            ));
        }
        return Done { stdout: String::new(), exit: ExitCode::Usage };
    }
    Done::text(message.render().to_string())
}

/// The variable that has the value which clap finds wrong: it names the flag alone, which nobody typed.
fn variable_behind(message: &clap::Error) -> Option<String> {
    let said = |kind| match message.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    let (flag, value) = (said(ContextKind::InvalidArg)?, said(ContextKind::InvalidValue)?);
    let mut command = Cli::command();
    // Before that no argument has words.
    command.build();
    let of_bench_py = command.find_subcommand("bench-py").into_iter();
    let mut all = command.get_arguments().chain(of_bench_py.flat_map(clap::Command::get_arguments));
    let variable = all.find(|arg| arg.get_env().is_some() && arg.to_string() == flag)?.get_env()?;
    (std::env::var_os(variable)? == value).then(|| variable.to_string_lossy().into_owned())
}

fn bench_py(args: &BenchPyArgs) -> Result<Done, Error> {
    let (command_line, run_args) = crate::bench_py::translate(args)?;
    match run::main(&run_args) {
        Ok(mut done) => {
            let equivalent = crate::bench_py::equivalent(&command_line);
            done.stdout = format!("{equivalent}\n\n{}", done.stdout);
            Ok(done)
        }
        Err(error) => Err(Error::BenchPy { command_line, source: Box::new(error) }),
    }
}

fn make_model(shape: &str, file: &std::path::Path) -> Result<Done, Error> {
    let shape = shape.parse().map_err(model::ModelError::from)?;
    model::synthetic::make(&shape, file, &Events::default(), &Cancel::never())?;
    Ok(Done::text(model::inspect(file)?))
}

/// Columns of the terminal behind stdout; 100 where there is none.
pub(crate) fn terminal_width() -> usize {
    console::Term::stdout().size_checked().map_or(100, |(_rows, columns)| usize::from(columns))
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bench-ci", &mut script);
    String::from_utf8(script).expect("clap writes UTF-8")
}

fn manual() -> Result<Done, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|source| Error::System { attempt: "render the manual page", source })?;
    Ok(Done::text(String::from_utf8_lossy(&page).into_owned()))
}

fn help(topic: &[String]) -> Result<Done, Error> {
    if topic == ["exit-codes"] {
        return Ok(Done::text(ExitCode::table()));
    }
    if topic == ["environment"] {
        return Ok(Done::text(crate::cli::environment::page()));
    }
    let mut command = Cli::command();
    for name in topic {
        command = command
            .find_subcommand(name)
            .ok_or_else(|| Error::HelpTopic { topic: topic.join(" ") })?
            .clone();
    }
    // What the flag prints, word for word: the page of `sim` is not clap's.
    let words = ["bench-ci"].into_iter().chain(topic.iter().map(String::as_str)).chain(["--help"]);
    main(words.map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The plain code blocks of a page, one line to a command.
    fn code_of(page: &str) -> String {
        let (mut code, mut inside) = (String::new(), None);
        for line in page.lines() {
            match (line.strip_prefix("```"), inside) {
                (Some(language), None) => inside = Some(language.is_empty()),
                (Some(_), Some(_)) => inside = None,
                (None, Some(true)) => code.push_str(&format!("{line}\n")),
                (None, _) => {}
            }
        }
        code.replace("\\\n", " ")
    }

    /// The command lines of ours in a page, as words. What a shell would put in is one word.
    fn command_lines(page: &str) -> Vec<Vec<OsString>> {
        let code = code_of(page).replace("cargo run --release --", "bench-ci");
        let lines = code.lines().filter_map(|line| line.split("# ").next());
        let commands = lines.flat_map(|line| line.split("&&")).map(str::trim);
        let words = |command: &str| -> Vec<OsString> {
            let pieces = command.split('`').enumerate();
            let outside = pieces.map(|(at, text)| if at % 2 == 0 { text } else { "substituted" });
            outside.collect::<String>().split_whitespace().map(OsString::from).collect()
        };
        commands.filter(|command| command.starts_with("bench-ci ")).map(words).collect()
    }

    /// Whether a command line starts a real server and says nowhere which model it is to load.
    fn lacks_a_model(cli: &Cli) -> bool {
        let lacks = |model: &crate::cli::ModelArgs, server: &crate::cli::ServerArgs| {
            let is_real = server.url.is_none() && server.server.as_deref() != Some("sim");
            is_real && model.model.is_none() && model.hf_repo.is_none()
        };
        match &cli.command {
            None => lacks(&cli.run.model, &cli.run.server),
            Some(Command::Ab(args)) => lacks(&args.run.model, &args.run.server),
            Some(Command::Bisect(args)) => lacks(&args.run.model, &args.run.server),
            _ => false,
        }
    }

    #[test]
    fn every_command_of_the_documents_can_be_typed_and_has_what_it_needs() {
        let pages = [
            include_str!("../README.md"),
            include_str!("../docs/migrating-from-bench-py.md"),
            include_str!("../docs/prometheus.md"),
            include_str!("../docs/runners.md"),
        ];
        let commands: Vec<_> = pages.into_iter().flat_map(command_lines).collect();
        assert!(commands.len() >= 11, "{commands:?}");
        for command in commands {
            match parse(command.clone()) {
                Ok(cli) => assert!(!lacks_a_model(&cli), "{command:?} names no model"),
                Err(error) => panic!("{command:?}: {error}"),
            }
        }
    }

    #[test]
    fn ngl_is_spelt_out_but_not_behind_two_dashes() {
        let argv = ["bench-ci", "-ngl", "3", "--", "-ngl", "4"].map(OsString::from).to_vec();
        let spelt: Vec<OsString> = spell_out(argv);
        assert_eq!(
            spelt,
            ["bench-ci", "--n-gpu-layers", "3", "--", "-ngl", "4"].map(OsString::from)
        );
    }
}
