//! The command line of a llama-server, fitted to what its build understands.
//!
//! Main function: [`build`]; main type: [`ServerCommand`]. Pure: a plan in, arguments out. It starts
//! nothing and asks nobody; whether a flag exists is told by [`Capabilities`].

use std::path::{Path, PathBuf};

use crate::plan::{Secret, ServerSpec};

use super::capabilities::Capabilities;
use super::error::ServerError;
use super::resolve::Program;

/// A command line, and what follows from it.
#[derive(Clone)]
pub struct ServerCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments. May hold secrets; show [`ServerCommand::display_redacted`] instead.
    pub args: Vec<String>,
    /// The address the server is told to listen on.
    pub listen_host: String,
    /// The port the server is told to listen on; never 0, and of no meaning to a Unix socket.
    pub port: u16,
    /// The Unix socket that it listens on; `None` where it is an address.
    pub socket: Option<PathBuf>,
    /// Where a client on this machine finds it, such as `http://127.0.0.1:8080` or
    /// `unix:/run/x.sock`; no slash at the end.
    pub base_url: String,
    /// The key from `--api-key` (the first, where there are several).
    pub api_key: Option<Secret>,
    /// The file from `--api-key-file`, whose first line is a key.
    pub api_key_file: Option<PathBuf>,
    /// What was adapted or left out, in words for the report.
    pub warnings: Vec<String>,
}

impl ServerCommand {
    /// The command line with every secret replaced by `***`, program first.
    #[must_use]
    pub fn display_redacted(&self) -> Vec<String> {
        let mut shown = vec![self.program.to_string_lossy().into_owned()];
        shown.extend(redacted(&self.args));
        shown
    }

    /// [`ServerCommand::display_redacted`] as one line that a shell would read the same way.
    #[must_use]
    pub fn shell_line(&self) -> String {
        self.display_redacted().iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ")
    }
}

impl std::fmt::Debug for ServerCommand {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // By hand, since the arguments may hold secrets.
        formatter
            .debug_struct("ServerCommand")
            .field("command", &self.display_redacted())
            .field("base_url", &self.base_url)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Arguments of llama-server with every secret replaced by `***`.
#[must_use]
pub fn redacted(args: &[String]) -> Vec<String> {
    let mut shown = Vec::with_capacity(args.len());
    let mut hide_next = false;
    for arg in args {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value)),
            _ => (arg.as_str(), None),
        };
        if hide_next {
            shown.push("***".to_owned());
            hide_next = false;
        } else if holds_secret(name) {
            hide_next = value.is_none();
            shown.push(value.map_or_else(|| arg.clone(), |_| format!("{name}=***")));
        } else {
            shown.push(arg.clone());
        }
    }
    shown
}

/// The secrets among arguments of llama-server; of keys that are parted by commas, each.
pub(super) fn secrets_in(args: &[String]) -> Vec<Secret> {
    let hidden = args.iter().zip(redacted(args)).filter(|(arg, shown)| *arg != shown);
    let values = hidden.map(|(arg, shown)| match shown.strip_suffix("***") {
        Some(flag) => arg.strip_prefix(flag).unwrap_or(arg),
        None => arg,
    });
    let each = values.flat_map(|value| value.split(',')).filter(|secret| !secret.is_empty());
    each.map(|secret| Secret::new(secret.to_owned())).collect()
}

/// A line of a server's log, in which it may repeat the words that it was started with.
pub(crate) fn without_secrets(line: &str) -> String {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    redacted(&words).join(" ")
}

/// Flags whose value must not be shown.
fn holds_secret(flag: &str) -> bool {
    matches!(flag, "--api-key" | "--hf-token" | "-hft" | "--mcp-servers-json")
        || (flag.starts_with("--")
            && ["-token", "-secret", "-password"].iter().any(|end| flag.ends_with(end))
            && flag != "--special-token")
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+*".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

// Names of one flag, the preferred spelling first.
const HOST: &[&str] = &["--host"];
const PORT: &[&str] = &["--port"];
const MODEL: &[&str] = &["--model", "-m"];
const ANY_MODEL: &[&str] = &[
    "--model",
    "-m",
    "--model-url",
    "-mu",
    "--hf-repo",
    "-hf",
    "-hfr",
    "--docker-repo",
    "-dr",
    "--models-dir",
    "--models-preset",
];
/// What is wrong with a model of the plan beside one among the further arguments.
pub(crate) const TWO_MODELS: &str =
    "the server's own arguments name a model too, and only one of the two would be loaded";
/// What to do about it.
pub(crate) const ONE_MODEL: &str = "take it out of the arguments behind --, so that the report names what was measured; or leave out \
     --model and --hf-repo";
const PARALLEL: &[&str] = &["--parallel", "-np"];
const GPU_LAYERS: &[&str] = &["--n-gpu-layers", "--gpu-layers", "-ngl"];
const CTX_SIZE: &[&str] = &["--ctx-size", "-c"];
const BATCH_SIZE: &[&str] = &["--batch-size", "-b"];
const UBATCH_SIZE: &[&str] = &["--ubatch-size", "-ub"];
const FIT: &[&str] = &["--fit", "-fit"];
/// The variable in which llama-server looks for `--fit`.
pub(crate) const FIT_VARIABLE: &str = "LLAMA_ARG_FIT";
const METRICS: &[&str] = &["--metrics"];
const SLOTS: &[&str] = &["--slots"];
const ANY_SLOTS: &[&str] = &["--slots", "--no-slots", "--slots-endpoint-disable"];
const FLASH_ATTN: &[&str] = &["--flash-attn", "-fa"];
const API_KEY: &[&str] = &["--api-key"];

/// The port that the plan fixes, by `--port` or in the further arguments; `None` if one must be
/// picked (0 in either place means so too).
#[must_use]
pub fn fixed_port(spec: &ServerSpec, capabilities: &Capabilities) -> Option<u16> {
    let extra = ExtraArgs { args: &spec.extra_args, capabilities };
    match extra.value_of(PORT) {
        Some(value) => value.parse().ok().filter(|port| *port != 0),
        None => Some(spec.port).filter(|port| *port != 0),
    }
}

/// The address that the server will listen on: the plan's, unless the further arguments name one.
#[must_use]
pub fn listen_host<'a>(spec: &'a ServerSpec, capabilities: &'a Capabilities) -> &'a str {
    let extra = ExtraArgs { args: &spec.extra_args, capabilities };
    extra.value_of(HOST).unwrap_or(&spec.host)
}

/// Whether further arguments say which model the server takes.
#[must_use]
pub fn names_a_model(extra_args: &[String]) -> bool {
    // All that a build could add is which other flags have a value, which may begin with a dash.
    let capabilities = Capabilities::default();
    ExtraArgs { args: extra_args, capabilities: &capabilities }.has(ANY_MODEL)
}

/// Whether further arguments say if the server may fit itself to the memory that is free.
#[must_use]
pub fn says_how_to_fit(extra_args: &[String]) -> bool {
    // No flag that takes a value beginning with a dash has one of these names for its value.
    let capabilities = Capabilities::default();
    ExtraArgs { args: extra_args, capabilities: &capabilities }.has(FIT)
}

/// Builds the command line.
///
/// `port` is used unless the further arguments fix another. Further arguments come last and win over
/// ours, which are then not given twice.
///
/// # Errors
/// If the user asked for a flag that this build does not have, for an address or port with which
/// nobody can connect, or for two models: of which the report speaks must be what is loaded.
pub fn build(
    spec: &ServerSpec,
    program: &Program,
    model: Option<&Path>,
    capabilities: &Capabilities,
    port: u16,
) -> Result<ServerCommand, ServerError> {
    let extra = ExtraArgs { args: &spec.extra_args, capabilities };
    let mut draft = Draft { args: program.leading_args.clone(), warnings: Vec::new(), extra };

    let listen_host = extra.value_of(HOST).unwrap_or(&spec.host).to_owned();
    let socket = socket_of(&listen_host).map(PathBuf::from);
    let client_host = if socket.is_some() { String::new() } else { client_host(&listen_host)? };
    let port = match extra.value_of(PORT) {
        Some(value) => match value.parse::<u16>() {
            Ok(0) => port,
            Ok(fixed) => fixed,
            Err(_) => {
                return Err(ServerError::Misuse {
                    problem: format!("invalid value \"{value}\" for --port: expected 0 to 65535"),
                    cure: "leave --port out to get a free one".to_owned(),
                });
            }
        },
        None => port,
    };

    if let Some(model) = model {
        if extra.has(ANY_MODEL) {
            return Err(ServerError::Misuse {
                problem: TWO_MODELS.to_owned(),
                cure: ONE_MODEL.to_owned(),
            });
        }
        // A command line that shows another name would load nothing, or another model.
        let Some(model) = model.to_str() else {
            return Err(ServerError::Misuse {
                problem: format!("the path of the model, \"{}\", is no UTF-8", model.display()),
                cure:
                    "keep the model in a folder with another name, such as by --model-path-prefix"
                        .to_owned(),
            });
        };
        draft.push(MODEL[0], model);
    }
    if !extra.has(HOST) {
        draft.push(HOST[0], &spec.host);
    }
    if !extra.has(PORT) {
        draft.push(PORT[0], &port.to_string());
    }
    draft.asked_for(PARALLEL, spec.parallel.map(|n| n.to_string()))?;
    draft.asked_for(CTX_SIZE, spec.ctx_size.map(|n| n.to_string()))?;
    draft.asked_for(BATCH_SIZE, spec.batch_size.map(|n| n.to_string()))?;
    draft.asked_for(UBATCH_SIZE, spec.ubatch_size.map(|n| n.to_string()))?;
    draft.gpu_layers(spec.n_gpu_layers.as_deref())?;
    if spec.fit_off {
        draft.fit_off();
    }
    draft.ours(METRICS, METRICS, "there will be no server metrics");
    draft.ours(SLOTS, ANY_SLOTS, "there may be no slot states");
    draft.take_extra(port);

    let Draft { args, warnings, .. } = draft;
    let scheme = if extra.has(&["--ssl-cert-file"]) && extra.has(&["--ssl-key-file"]) {
        "https"
    } else {
        "http"
    };
    let prefix = extra.value_of(&["--api-prefix"]).unwrap_or_default().trim_end_matches('/');
    let base_url = match &socket {
        Some(_) if scheme == "https" => {
            return Err(ServerError::Misuse {
                problem: "cannot load a server that speaks TLS on a Unix socket".to_owned(),
                cure: "leave out --ssl-key-file and --ssl-cert-file: nobody listens in on a socket of \
                       this machine"
                    .to_owned(),
            });
        }
        Some(path) if prefix.is_empty() => format!("unix:{}", path.display()),
        Some(path) => {
            let path = path.to_string_lossy().replace('%', "%25").replace('/', "%2F");
            format!("http+unix://{path}{prefix}")
        }
        None => format!("{scheme}://{client_host}:{port}{prefix}"),
    };
    Ok(ServerCommand {
        program: program.path.clone(),
        args,
        base_url,
        listen_host,
        port,
        socket,
        api_key: extra.value_of(API_KEY).and_then(first_key),
        api_key_file: extra.value_of(&["--api-key-file"]).map(PathBuf::from),
        warnings,
    })
}

/// The key with which a server is asked that was given these, parted by commas, by `--api-key` or
/// `LLAMA_API_KEY`; `None` if there is none.
#[must_use]
pub fn first_key(keys: &str) -> Option<Secret> {
    let first = keys.split(',').find(|key| !key.is_empty())?;
    Some(Secret::new(first.to_owned()))
}

/// The Unix socket that `--host` names: llama-server takes for one what ends so.
#[must_use]
pub fn socket_of(listen: &str) -> Option<&str> {
    let first = listen.split(',').next().unwrap_or_default().trim();
    first.ends_with(".sock").then_some(first)
}

/// Where a client on this machine reaches a server that listens on `listen`.
pub(crate) fn client_host(listen: &str) -> Result<String, ServerError> {
    // Newer builds take several addresses; any of them will do.
    let first = listen.split(',').next().unwrap_or_default().trim();
    if first.contains('/') {
        return Err(ServerError::Misuse {
            problem: format!("invalid value \"{first}\" for --host"),
            cure: "give an IP address, or a Unix socket whose name ends in .sock".to_owned(),
        });
    }
    Ok(match first.trim_start_matches('[').trim_end_matches(']') {
        "" | "0.0.0.0" | "*" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        address if address.contains(':') => format!("[{address}]"),
        name => name.to_owned(),
    })
}

/// The command line while it is being written.
struct Draft<'a> {
    args: Vec<String>,
    warnings: Vec<String>,
    extra: ExtraArgs<'a>,
}

impl Draft<'_> {
    fn push(&mut self, flag: &str, value: &str) {
        self.args.extend([flag.to_owned(), value.to_owned()]);
    }

    /// A flag that the user asked for by one of our own flags.
    fn asked_for(&mut self, names: &[&str], value: Option<String>) -> Result<(), ServerError> {
        let Some(value) = value else { return Ok(()) };
        if self.extra.has(names) {
            let chosen = self.extra.value_of(names).unwrap_or_default();
            if chosen != value {
                self.warnings.push(format!(
                    "{} is given twice: {chosen} behind -- wins over {value}",
                    names[0]
                ));
            }
            return Ok(());
        }
        match self.extra.capabilities.spelling(names) {
            Some(name) => {
                self.push(name, &value);
                Ok(())
            }
            None => Err(self.unknown(names[0])),
        }
    }

    fn unknown(&self, flag: &str) -> ServerError {
        ServerError::UnknownFlag {
            flag: flag.to_owned(),
            version: self.extra.capabilities.version.as_ref().map(|version| version.text.clone()),
        }
    }

    /// `--n-gpu-layers`: builds without a GPU do not list it, and only newer ones take words.
    fn gpu_layers(&mut self, value: Option<&str>) -> Result<(), ServerError> {
        let Some(value) = value else { return Ok(()) };
        let capabilities = self.extra.capabilities;
        if capabilities.known() && !self.extra.has(GPU_LAYERS) {
            let flag = GPU_LAYERS.iter().find_map(|name| capabilities.flag(name));
            if flag.is_none() && value == "0" {
                self.warnings.push(
                    "--n-gpu-layers 0 was left out: this build does not know it, and has no GPU layers"
                        .to_owned(),
                );
                return Ok(());
            }
            let takes_words = flag.is_some_and(|flag| flag.description.contains("all"));
            if flag.is_some() && value == "all" && !takes_words {
                // More layers than any model has; what "all" was called before there was a word.
                self.warnings.push(
                    "--n-gpu-layers all became 999: this build takes only numbers".to_owned(),
                );
                return self.asked_for(GPU_LAYERS, Some("999".to_owned()));
            }
        }
        self.asked_for(GPU_LAYERS, Some(value.to_owned()))
    }

    /// `--fit off`, where the help has it: a build without the flag fits nothing.
    fn fit_off(&mut self) {
        let known = FIT.iter().find(|name| self.extra.capabilities.flag(name).is_some());
        if let Some(name) = known.filter(|_| !self.extra.has(FIT)) {
            self.push(name, "off");
        }
    }

    /// A flag that we add for our own sake: left out, with a warning, where it does not exist.
    fn ours(&mut self, names: &[&str], related: &[&str], otherwise: &str) {
        if self.extra.has(related) {
            return;
        }
        match self.extra.capabilities.spelling(names) {
            Some(name) => self.args.push(name.to_owned()),
            // Builds that only have a flag to switch it off have it on.
            None if self.extra.capabilities.has_any(related) => {}
            None => {
                self.warnings.push(format!("this build does not know {}: {otherwise}", names[0]))
            }
        }
    }

    /// The further arguments, verbatim but for `--flash-attn` and a port of 0.
    fn take_extra(&mut self, port: u16) {
        let wants_value = self.extra.capabilities.flash_attn_wants_value();
        let args = self.extra.args;
        let mut index = 0;
        while index < args.len() {
            let arg = &args[index];
            let next = args.get(index + 1);
            index += 1;
            if PORT.contains(&arg.as_str()) && next.is_some_and(|value| value == "0") {
                self.push(PORT[0], &port.to_string());
                index += 1;
            } else if FLASH_ATTN.contains(&arg.as_str()) {
                let value = next.filter(|value| is_flash_attn_value(value));
                index += usize::from(value.is_some());
                self.flash_attn(arg, value.map(String::as_str), wants_value);
            } else {
                self.args.push(arg.clone());
                // The value of a flag is never taken for a flag, even if it begins with a dash.
                if self.extra.takes_value(arg)
                    && let Some(value) = next
                {
                    self.args.push(value.clone());
                    index += 1;
                }
            }
        }
    }

    fn flash_attn(&mut self, name: &str, value: Option<&str>, wants_value: Option<bool>) {
        match (value, wants_value) {
            (None, Some(true)) => {
                self.push(name, "on");
                self.warnings.push(format!("{name} became {name} on: this build wants a value"));
            }
            (Some(value), Some(false)) => {
                let on = matches!(value, "on" | "1" | "true" | "enabled");
                let became = if on { name } else { "nothing" };
                if on {
                    self.args.push(name.to_owned());
                }
                self.warnings.push(format!(
                    "{name} {value} became {became}: this build takes no value for it"
                ));
            }
            (None, _) => self.args.push(name.to_owned()),
            (Some(value), _) => self.push(name, value),
        }
    }
}

/// The values that llama.cpp takes for `--flash-attn`.
fn is_flash_attn_value(word: &str) -> bool {
    matches!(
        word,
        "on" | "off" | "auto" | "1" | "0" | "-1" | "true" | "false" | "enabled" | "disabled"
    )
}

/// The user's verbatim arguments, read with what the build understands.
#[derive(Clone, Copy)]
struct ExtraArgs<'a> {
    args: &'a [String],
    capabilities: &'a Capabilities,
}

impl<'a> ExtraArgs<'a> {
    fn has(&self, names: &[&str]) -> bool {
        self.flags().any(|(name, _)| names.contains(&name))
    }

    /// The value of the last of these flags, as the server would take it.
    fn value_of(&self, names: &[&str]) -> Option<&'a str> {
        self.flags().filter(|(name, _)| names.contains(name)).filter_map(|(_, value)| value).last()
    }

    /// Whether the argument behind this one is its value. Unknown flags are taken to have none,
    /// which matters only for values that begin with a dash.
    fn takes_value(&self, flag: &str) -> bool {
        match self.capabilities.flag(flag) {
            Some(flag) => flag.value.is_some(),
            None => {
                [HOST, PORT, ANY_MODEL, API_KEY, PARALLEL, GPU_LAYERS, CTX_SIZE, BATCH_SIZE]
                    .iter()
                    .any(|names| names.contains(&flag))
                    || matches!(flag, "--alias" | "-a")
            }
        }
    }

    /// Every flag with the argument that would be its value.
    fn flags(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let (args, this) = (self.args, *self);
        let mut index = 0;
        std::iter::from_fn(move || {
            while let Some(arg) = args.get(index) {
                index += 1;
                if !arg.starts_with('-') {
                    continue;
                }
                if let Some((name, value)) = arg.split_once('=') {
                    return Some((name, Some(value)));
                }
                let value = args.get(index).map(String::as_str);
                if this.takes_value(arg) {
                    index += 1;
                }
                return Some((arg.as_str(), value));
            }
            None
        })
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
