//! What a user may type after `bench-ci sim`: llama-server's flags and the simulator's own.
//!
//! Main type: [`SimArgs`]. A flag that a real server does not know is an error, one that it knows
//! and the simulator has no use for is taken and ignored. Nothing is started here.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use super::fault::{Acts, Fault, FaultKind, FaultSet};
use super::flags::{self, Line};

/// Width of the left column of llama-server's `--help`.
const HELP_COLUMN: usize = 40;
/// Slots when `--parallel` is not given or negative, as a real server picks them.
const AUTO_SLOTS: u32 = 4;

/// The flags of the simulator.
///
/// Built from a command line by [`SimArgs::from_command_line`], or from [`SimArgs::default`] in
/// tests, and then changed field by field.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "sim",
    disable_help_flag = true,
    disable_version_flag = true,
    no_binary_name = true
)]
pub struct SimArgs {
    /// address to listen on, or a Unix socket, ending in .sock (default: 127.0.0.1)
    #[arg(long, default_value = "127.0.0.1", hide_default_value = true)]
    pub host: String,
    /// port to listen on, 0 picks a free one (default: 8080)
    #[arg(long, default_value_t = 8080, hide_default_value = true)]
    pub port: u16,
    /// model path; only its name is used
    #[arg(short, long)]
    pub model: Option<String>,
    /// model name alias (to be used by the API)
    #[arg(long)]
    pub alias: Option<String>,
    /// number of server slots (default: -1, -1 = auto = 4)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub parallel: i64,
    /// size of the prompt context, divided among the slots (default: 0, 0 = 8192 a slot)
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub ctx_size: u32,
    /// number of tokens to predict where a request does not say (default: -1, -1 = seeded length)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub n_predict: i64,
    /// enable the prometheus compatible metrics endpoint (default: disabled)
    #[arg(long)]
    pub metrics: bool,
    /// expose the slots monitoring endpoint (default: enabled)
    #[arg(long)]
    pub slots: bool,
    /// do not expose the slots monitoring endpoint
    #[arg(long)]
    pub no_slots: bool,
    /// enable changing global properties via POST /props; accepted, changes nothing
    #[arg(long)]
    pub props: bool,
    /// API key to use for authentication, or a comma-separated list (default: none)
    #[arg(long)]
    pub api_key: Option<String>,
    /// path to file a PEM-encoded SSL private key
    #[arg(long, value_name = "FNAME")]
    pub ssl_key_file: Option<PathBuf>,
    /// path to file a PEM-encoded SSL certificate
    #[arg(long, value_name = "FNAME")]
    pub ssl_cert_file: Option<PathBuf>,
    /// seed of jitter, words and answer lengths (default: -1, -1 = 42)
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub seed: i64,
    /// offer embeddings (default: disabled)
    #[arg(long)]
    pub embeddings: bool,
    /// enable reranking endpoint on server (default: disabled)
    #[arg(long)]
    pub reranking: bool,
    /// log nothing but the address
    #[arg(long)]
    pub log_disable: bool,
    /// seconds of silence before a comment ping, negative for none (default: 30)
    #[arg(long, default_value_t = 30, allow_negative_numbers = true, hide_default_value = true)]
    pub sse_ping_interval: i64,

    /// loading time in milliseconds (default: 50)
    #[arg(long, value_name = "MS", default_value_t = 50.0, value_parser = positive, hide_default_value = true)]
    pub sim_load_ms: f64,
    /// prompt tokens per second of one slot (default: 5000)
    #[arg(long, value_name = "N", default_value_t = 5000.0, value_parser = positive, hide_default_value = true)]
    pub sim_prefill_tps: f64,
    /// milliseconds per token while one slot is busy (default: 1.5)
    #[arg(long, value_name = "MS", default_value_t = 1.5, value_parser = positive, hide_default_value = true)]
    pub sim_decode_ms: f64,
    /// growth of the decode interval per further busy slot, as a fraction (default: 0.05)
    #[arg(long, value_name = "F", default_value_t = 0.05, value_parser = positive, hide_default_value = true)]
    pub sim_batch_slowdown: f64,
    /// each token up to this fraction of an interval late, by seed; at most 1 (default: 0)
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = positive, hide_default_value = true)]
    pub sim_jitter: f64,
    /// fixed schedule: first token MS after the kernel received the request (or its slot began)
    #[arg(long, value_name = "MS", value_parser = positive)]
    pub sim_ttft_ms: Option<f64>,
    /// fixed schedule: one token every MS, 0 = as fast as the client reads
    #[arg(long, value_name = "MS", value_parser = positive)]
    pub sim_itl_ms: Option<f64>,
    /// everything slower by this many percent (default: 0)
    #[arg(
        long,
        value_name = "PCT",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    pub sim_slowdown: f64,
    /// answers end by themselves after a seeded length of N/2 to 3N/2 tokens unless ignore_eos, 0 = never (default: 128)
    #[arg(long, value_name = "N")]
    pub sim_eos: Option<u32>,
    /// keep the connection open after a stream, unlike a real server
    #[arg(long)]
    pub sim_keep_alive: bool,
    /// append what was really sent, one JSON line a request
    #[arg(long, value_name = "FILE")]
    pub sim_truth: Option<PathBuf>,
    /// put the send stamp into an SSE comment of each event
    #[arg(long)]
    pub sim_stamps: bool,
    /// misbehave, see the list below; may be repeated
    #[arg(long, value_name = "KIND[:ARG]")]
    pub sim_fault: Vec<Fault>,
    /// only every Kth request has the faults
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub sim_fault_every: Option<u64>,
    /// only the Kth request has the faults, counted from 1
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub sim_fault_at: Option<u64>,
}

/// A command line that starts no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLineEnd {
    /// `--help`: text for stdout, exit code 0.
    Help(String),
    /// `--version`: text for stderr, as a real server has it, exit code 0.
    Version(String),
    /// A bad command line: text for stderr, exit code 1.
    Bad(String),
}

impl Default for SimArgs {
    fn default() -> Self {
        SimArgs::parse_from(std::iter::empty::<OsString>())
    }
}

impl SimArgs {
    /// Reads what follows `bench-ci sim`.
    ///
    /// # Errors
    ///
    /// [`CommandLineEnd`] when no server is to be started.
    pub fn from_command_line(
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<SimArgs, CommandLineEnd> {
        let own = SimArgs::command();
        let mut kept: Vec<OsString> = Vec::new();
        let mut arguments = arguments.into_iter().map(Into::into);
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.to_str() else {
                return Err(bad(&format!("invalid argument: {}", argument.display())));
            };
            if matches!(name, "-h" | "--help" | "--usage") {
                return Err(CommandLineEnd::Help(help()));
            }
            if name == "--version" {
                return Err(CommandLineEnd::Version(version_text()));
            }
            if name.starts_with("--sim-") {
                let takes_value = takes_value(&own, name);
                kept.push(argument.clone());
                if takes_value {
                    kept.extend(arguments.next());
                }
                continue;
            }
            let Some(flag) = flags::find(name) else {
                return Err(bad(&format!("invalid argument: {name}")));
            };
            let mut values: Vec<OsString> = arguments.by_ref().take(flag.values()).collect();
            if let Some(problem) = misuse(flag, &values) {
                let usage = format!("{} {}", flag.names.join(", "), flag.value);
                return Err(CommandLineEnd::Bad(format!(
                    "error while handling argument \"{name}\": {problem}\n\nusage:\n{usage}\n"
                )));
            }
            if let Some(long) = own_spelling(&own, flag, name) {
                let mut written = OsString::from(format!("--{long}"));
                if let Some(value) = values.pop() {
                    written.push("=");
                    written.push(value);
                }
                kept.push(written);
            }
        }
        // A real server lets the last of two equal flags win; clap does so when told.
        own.args_override_self(true)
            .try_get_matches_from(kept)
            .and_then(|matches| <SimArgs as clap::FromArgMatches>::from_arg_matches(&matches))
            .map_err(|error| CommandLineEnd::Bad(error.render().to_string()))
    }

    /// The Unix socket to listen on; `None` where it is an address.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.host.ends_with(".sock").then(|| Path::new(&self.host))
    }

    /// How many requests run at once.
    #[must_use]
    pub fn slot_count(&self) -> u32 {
        u32::try_from(self.parallel).ok().filter(|&slots| slots > 0).unwrap_or(AUTO_SLOTS)
    }

    /// Tokens of prompt and answer that one slot holds.
    #[must_use]
    pub fn slot_context(&self) -> u32 {
        if self.ctx_size == 0 {
            return super::model::SLOT_CONTEXT;
        }
        let total = self.ctx_size;
        // Without a number of slots the real server shares one cache among them all.
        if self.parallel > 0 { (total / self.slot_count()).max(1) } else { total }
    }

    /// The name under which the model is served.
    #[must_use]
    pub fn model_name(&self) -> &str {
        self.alias.as_deref().or(self.model.as_deref()).unwrap_or("sim")
    }

    /// The seed of everything random.
    #[must_use]
    pub fn effective_seed(&self) -> u64 {
        u64::try_from(self.seed).unwrap_or(42)
    }

    /// The faults of the whole process.
    #[must_use]
    pub fn process_faults(&self) -> FaultSet {
        FaultSet::new(self.faults(Acts::OnTheProcess))
    }

    /// The faults that the flags put on request number `ordinal`, counted from 1.
    #[must_use]
    pub fn request_faults(&self, ordinal: u64) -> FaultSet {
        let chosen = match (self.sim_fault_every, self.sim_fault_at) {
            (None, None) => true,
            (every, at) => every.is_some_and(|k| ordinal.is_multiple_of(k)) || at == Some(ordinal),
        };
        let mut faults = if chosen { self.faults(Acts::OnARequest) } else { Vec::new() };
        faults.retain(|fault| match fault.kind {
            // The flag names the request (`crash:K`) or the moment (`stall`), not every request.
            FaultKind::Crash => fault.numbers.first().is_none_or(|&k| k as u64 == ordinal),
            FaultKind::Stall => false,
            _ => true,
        });
        FaultSet::new(faults)
    }

    /// The stall of the whole server: its length and its moment after the first request, in ms.
    #[must_use]
    pub fn stall_ms(&self) -> Option<(f64, f64)> {
        let fault = self.sim_fault.iter().find(|fault| fault.kind == FaultKind::Stall)?;
        Some((fault.number_or(0.0), fault.numbers.get(1).copied().unwrap_or(1.0) * 1e3))
    }

    fn faults(&self, acts: Acts) -> Vec<Fault> {
        self.sim_fault.iter().filter(|fault| fault.kind.acts() == acts).cloned().collect()
    }
}

/// The two lines of `--version`, in the real server's layout.
#[must_use]
pub fn version_text() -> String {
    format!(
        "version: {version} (bench-ci sim, build 0, commit unknown)\nbuilt with rustc for {os} {arch}\n",
        version = env!("CARGO_PKG_VERSION"),
        os = std::env::consts::OS,
        arch = std::env::consts::ARCH,
    )
}

fn positive(typed: &str) -> Result<f64, String> {
    match typed.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

fn bad(message: &str) -> CommandLineEnd {
    CommandLineEnd::Bad(format!("error: {message}\n"))
}

/// What a real server says about these values of a flag; `None` where it takes them.
fn misuse(flag: &flags::Flag, values: &[OsString]) -> Option<String> {
    if values.len() < flag.values() {
        return Some("expected value for argument".to_owned());
    }
    let value = values.first()?.to_string_lossy();
    let one_of = |words: &[&str]| words.contains(&&*value);
    // `--flash-attn` took no value in older builds, and whoever still writes it bare hands it the
    // next flag.
    if flag.names.contains(&"--flash-attn") {
        let known =
            one_of(&["on", "off", "auto", "enabled", "disabled", "true", "false", "1", "0", "-1"]);
        return (!known).then(|| format!("error: unknown value for --flash-attn: '{value}'"));
    }
    let is_word = flag.names.contains(&"--n-gpu-layers") && one_of(&["auto", "all"]);
    let is_number = value.parse::<f64>().is_ok();
    (matches!(flag.value, "N" | "PORT" | "SEED") && !is_number && !is_word)
        .then(|| "stoi".to_owned())
}

/// Whether the simulator's own flag `name` is followed by a value of its own.
fn takes_value(own: &clap::Command, name: &str) -> bool {
    own.get_arguments()
        .find(|argument| {
            argument.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long))
        })
        .is_some_and(|argument| argument.get_action().takes_values())
}

/// The long name under which the simulator knows a real flag; `None` where it ignores it.
///
/// `--no-…` is another flag on the same line of the help, never a spelling.
fn own_spelling<'a>(own: &'a clap::Command, flag: &flags::Flag, typed: &str) -> Option<&'a str> {
    let negative = |name: &str| name.starts_with("--no-");
    own.get_arguments().filter_map(clap::Arg::get_long).find(|long| {
        flag.names.iter().any(|name| {
            name.strip_prefix("--") == Some(long)
                && if negative(typed) { *name == typed } else { !negative(name) }
        })
    })
}

/// `--help` in the layout of a real server: flags from the first column, meaning from the 41st.
fn help() -> String {
    let own = SimArgs::command();
    let meaning =
        |argument: &clap::Arg| argument.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = String::new();
    for line in flags::lines() {
        match line {
            Line::Group(title) => {
                let gap = if text.is_empty() { "" } else { "\n\n" };
                text.push_str(&format!("{gap}----- {title} -----\n\n"));
            }
            Line::Flag(flag) => {
                let first = flag.names.first().copied().unwrap_or_default();
                let known = match first {
                    "-h" => "print usage and exit".to_owned(),
                    "--version" => "show version and build info".to_owned(),
                    _ => own_spelling(&own, flag, first)
                        .and_then(|long| {
                            own.get_arguments().find(|own| own.get_long() == Some(long))
                        })
                        .map_or_else(
                            || "(accepted, without effect in the simulator)".to_owned(),
                            meaning,
                        ),
                };
                push_flag(&mut text, &head(flag), &known);
            }
        }
    }
    text.push_str("\n\n----- simulator params -----\n\n");
    for argument in own.get_arguments() {
        let Some(long) = argument.get_long().filter(|long| long.starts_with("sim-")) else {
            continue;
        };
        let value = argument
            .get_value_names()
            .and_then(<[_]>::first)
            .filter(|_| argument.get_action().takes_values());
        let head = match value {
            Some(value) => format!("--{long} {value}"),
            None => format!("--{long}"),
        };
        push_flag(&mut text, &head, &meaning(argument));
    }
    text.push_str("\n\n----- faults (--sim-fault, or the request header x-sim-fault) -----\n\n");
    for &kind in FaultKind::ALL {
        push_flag(&mut text, &format!("{}{}", kind.name(), kind.argument()), kind.meaning());
    }
    text
}

/// Short spellings are padded to seven characters, as the real help does.
fn head(flag: &flags::Flag) -> String {
    let mut head = String::new();
    for (index, name) in flag.names.iter().enumerate() {
        let last = index + 1 == flag.names.len();
        let comma = if last { "" } else { "," };
        let spelled = format!("{name}{comma}");
        if index == 0 && !name.starts_with("--") && !last {
            write!(head, "{spelled:<6} ").expect("writing to a string cannot fail");
        } else {
            head.push_str(&spelled);
            head.push(' ');
        }
    }
    head.push_str(flag.value);
    head.trim_end().to_owned()
}

fn push_flag(text: &mut String, head: &str, meaning: &str) {
    if head.len() < HELP_COLUMN {
        text.push_str(&format!("{head:<HELP_COLUMN$}{meaning}\n"));
    } else {
        text.push_str(&format!("{head}\n{:HELP_COLUMN$}{meaning}\n", ""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<SimArgs, CommandLineEnd> {
        SimArgs::from_command_line(line.split_whitespace())
    }

    #[test]
    fn a_real_command_line_is_taken_and_what_has_no_meaning_ignored() {
        let args = read(
            "--host 127.0.0.1 --port 0 -m m.gguf -np 8 -c 4096 -b 512 -ub 64 -ngl all -fa auto -cb -t 2 \
             --metrics --jinja --no-webui --no-slots --seed 7 --log-disable -lv 3 --temp -1 -a name",
        )
        .expect("a valid line");
        assert_eq!((args.port, args.slot_count(), args.slot_context()), (0, 8, 512));
        assert_eq!(args.model.as_deref(), Some("m.gguf"));
        assert_eq!(args.model_name(), "name");
        assert!(args.metrics && args.no_slots && !args.slots && args.log_disable);
        assert_eq!(args.effective_seed(), 7);
    }

    #[test]
    fn the_simulators_own_flags_take_values_with_and_without_an_equals_sign() {
        let args = read(
            "--sim-ttft-ms 12.5 --sim-itl-ms=0 --sim-fault cut:3 --sim-fault crlf --sim-stamps",
        )
        .expect("a valid line");
        assert_eq!((args.sim_ttft_ms, args.sim_itl_ms), (Some(12.5), Some(0.0)));
        assert_eq!(args.sim_fault.len(), 2);
        assert!(args.sim_stamps);
    }

    #[test]
    fn an_unknown_or_misused_flag_is_refused_as_the_real_server_does() {
        assert_eq!(
            read("--bogus"),
            Err(CommandLineEnd::Bad("error: invalid argument: --bogus\n".into()))
        );
        for (line, said) in [
            (
                "--metrics -fa",
                "error while handling argument \"-fa\": expected value for argument\n\nusage:\n-fa, --",
            ),
            (
                "--flash-attn --metrics",
                "error while handling argument \"--flash-attn\": error: unknown value for --flash-attn: '--metrics'\n",
            ),
            ("-c abc", "error while handling argument \"-c\": stoi\n\nusage:\n-c, --ctx-size N\n"),
            ("-ngl zz", "error while handling argument \"-ngl\": stoi\n"),
        ] {
            let Err(CommandLineEnd::Bad(text)) = read(line) else { panic!("{line} was accepted") };
            assert!(text.starts_with(said), "{line}: {text}");
        }
        for line in [
            "--port x",
            "--port 70000",
            "--sim-fault nonsense",
            "--sim-jitter -1",
            "--sim-bogus",
            "stray",
        ] {
            assert!(matches!(read(line), Err(CommandLineEnd::Bad(_))), "{line} was accepted");
        }
    }

    #[test]
    fn the_last_of_two_equal_flags_wins() {
        let args = read("-np 2 -np 3 --metrics --metrics --parallel -1").expect("a valid line");
        assert_eq!((args.parallel, args.slot_count()), (-1, 4));
        assert_eq!(args.slot_context(), 8192);
    }

    #[test]
    fn help_has_the_real_layout_and_names_every_fault() {
        let Err(CommandLineEnd::Help(help)) = read("-np 2 --help") else { panic!("no help") };
        assert!(help.starts_with("----- common params -----\n\n-h,    --help, --usage"), "{help}");
        for flag in [
            "--metrics ",
            "-fa,   --flash-attn [on|off|auto]       ",
            "--slots, --no-slots",
            "-np,   --parallel N ",
        ] {
            assert!(help.contains(flag), "no {flag}");
        }
        for &kind in FaultKind::ALL {
            assert!(help.contains(kind.name()));
        }
        let Err(CommandLineEnd::Version(version)) = read("--version") else { panic!("no version") };
        assert_eq!(version.lines().count(), 2);
        assert!(version.starts_with("version: ") && version.contains("\nbuilt with "));
    }

    #[test]
    fn flags_choose_which_requests_have_faults() {
        let args = read("--sim-fault crlf --sim-fault-every 3 --sim-fault-at 4").expect("valid");
        let with: Vec<u64> =
            (1..=6).filter(|&k| args.request_faults(k).has(FaultKind::Crlf)).collect();
        assert_eq!(with, [3, 4, 6]);
        let args = read("--sim-fault crash:5 --sim-fault refuse-stop").expect("valid");
        assert!(
            args.request_faults(5).has(FaultKind::Crash)
                && !args.request_faults(4).has(FaultKind::Crash)
        );
        assert!(!args.request_faults(1).has(FaultKind::RefuseStop));
        assert!(args.process_faults().has(FaultKind::RefuseStop));
    }
}
