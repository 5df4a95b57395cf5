//! Which executable is started, and why one cannot be.
//!
//! Main type: [`Program`]. It looks at files and starts nothing. The environment is the caller's to
//! read; what it found is handed in.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::plan::ServerProgram;

use super::error::ServerError;

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Arguments before all others: `sim` for the simulator inside this binary, else none.
    pub leading_args: Vec<String>,
    /// Whether it is the simulator inside this binary.
    pub is_simulator: bool,
}

impl Program {
    /// A llama-server at this path.
    #[must_use]
    pub fn llama_server(path: PathBuf) -> Self {
        Self { path, leading_args: Vec::new(), is_simulator: false }
    }

    /// The simulator inside this binary, which is at `own_executable`.
    #[must_use]
    pub fn simulator(own_executable: PathBuf) -> Self {
        Self { path: own_executable, leading_args: vec!["sim".to_owned()], is_simulator: true }
    }

    /// What the plan says.
    ///
    /// # Errors
    /// If the path of this binary, which is the simulator, cannot be found.
    pub fn from_plan(program: &ServerProgram) -> Result<Self, ServerError> {
        match program {
            ServerProgram::Executable(path) => Ok(Self::llama_server(path.clone())),
            ServerProgram::Sim => match own_executable() {
                Ok(own) => Ok(Self::simulator(own)),
                Err(source) => Err(ServerError::CannotStart {
                    program: PathBuf::from("sim"),
                    why: "the path of this executable is not known".to_owned(),
                    source: Some(source),
                }),
            },
        }
    }

    /// The same choice in the words of the plan.
    #[must_use]
    pub fn to_plan(&self) -> ServerProgram {
        if self.is_simulator {
            ServerProgram::Sim
        } else {
            ServerProgram::Executable(self.path.clone())
        }
    }
}

/// Where this binary can be started from. A build that was replaced or removed meanwhile is no longer where it
/// was; then it is the kernel's own link, which leads every child that is started from here to the same build.
///
/// # Errors
/// Where the system does not say.
pub fn own_executable() -> std::io::Result<PathBuf> {
    const LINK: &str = "/proc/self/exe";
    let own = std::env::current_exe()?;
    let is_gone = !own.exists() && Path::new(LINK).exists();
    Ok(if is_gone { PathBuf::from(LINK) } else { own })
}

/// Finds the executable: what was asked for, else the variable, else `llama-server` on the path.
///
/// `choice`: `--server`. `variable`: the value of `LLAMA_SERVER_BIN_PATH`; empty counts as unset.
/// `search_path`: the value of `PATH`. `own_executable`: this binary, for the simulator. A folder is
/// accepted where it holds a `llama-server`. The simulator is never chosen unless asked for.
///
/// # Errors
/// If nothing was named and nothing found, or if what was named is not there or cannot be executed.
pub fn resolve_program(
    choice: Option<&ServerProgram>,
    variable: Option<&OsStr>,
    search_path: Option<&OsStr>,
    own_executable: &Path,
) -> Result<Program, ServerError> {
    let variable = variable.filter(|value| !value.is_empty());
    let named = match choice {
        Some(ServerProgram::Sim) => return Ok(Program::simulator(own_executable.to_owned())),
        Some(ServerProgram::Executable(path)) => path.clone(),
        None => match variable {
            Some(value) => PathBuf::from(value),
            None => {
                return on_path("llama-server", search_path)
                    .map(Program::llama_server)
                    .ok_or(ServerError::NoneFound);
            }
        },
    };
    let found = if named.is_dir() {
        let inside = named.join("llama-server");
        if !inside.is_file() {
            return Err(ServerError::CannotStart {
                program: named,
                why: "it is a folder without a llama-server in it".to_owned(),
                source: None,
            });
        }
        inside
    } else if named.exists() {
        named
    } else {
        // A bare word is looked up as a shell would.
        let bare = named.components().count() == 1 && !named.is_absolute();
        match bare.then(|| named.to_str().and_then(|name| on_path(name, search_path))).flatten() {
            Some(path) => path,
            None => return Err(ServerError::NoSuchFile { path: named }),
        }
    };
    // Without a slash the system would search its own PATH instead of this folder.
    let found = if found.components().count() == 1 { Path::new(".").join(found) } else { found };
    if !is_executable(&found) {
        return Err(ServerError::CannotStart {
            program: found,
            why: "it is not an executable (no execute permission)".to_owned(),
            source: None,
        });
    }
    Ok(Program::llama_server(found))
}

fn on_path(name: &str, search_path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search_path?)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Words the operating system's refusal to start a program.
pub(super) fn cannot_start(program: &Path, error: io::Error) -> ServerError {
    if error.kind() == ErrorKind::NotFound && !program.exists() {
        return ServerError::NoSuchFile { path: program.to_owned() };
    }
    let why = match error.raw_os_error() {
        // The file is there, so it is its interpreter that is not.
        Some(nix::libc::ENOENT) => match interpreter(program) {
            Some(interpreter) => format!("its interpreter \"{interpreter}\" does not exist"),
            None => "its dynamic loader does not exist; it was built for another system".to_owned(),
        },
        Some(nix::libc::EACCES) => "permission denied".to_owned(),
        Some(nix::libc::ENOEXEC) => {
            why_not_executable(program).unwrap_or_else(|| "its format is not executable".to_owned())
        }
        Some(nix::libc::ENOMEM | nix::libc::EAGAIN) => {
            "the system has no room for another process".to_owned()
        }
        _ => "the operating system refuses".to_owned(),
    };
    ServerError::CannotStart { program: program.to_owned(), why, source: Some(error) }
}

fn interpreter(program: &Path) -> Option<String> {
    let head = head_of(program)?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(str::to_owned)
}

fn head_of(program: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    std::fs::File::open(program).ok()?.take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Why the system cannot run this file, seen from its first bytes; `None` if they look right.
///
/// Needed because the C library runs what the kernel does not know as a shell script, so that a
/// broken executable ends in a shell's syntax error.
pub(super) fn why_not_executable(program: &Path) -> Option<String> {
    let head = head_of(program)?;
    if head.is_empty() {
        return Some("it is an empty file".to_owned());
    }
    if head.starts_with(b"#!") {
        return None;
    }
    if head.starts_with(b"\x7fELF") {
        let machine = u16::from_le_bytes([*head.get(18)?, *head.get(19)?]);
        let ours = match std::env::consts::ARCH {
            "x86_64" => 62,
            "aarch64" => 183,
            "riscv64" => 243,
            _ => return None,
        };
        let name = match machine {
            3 => "x86",
            40 => "arm",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv64",
            _ => "another architecture",
        };
        return (machine != ours).then(|| {
            format!("it was built for {name}, and this machine is {}", std::env::consts::ARCH)
        });
    }
    let other = match head.as_slice() {
        [b'M', b'Z', ..] => Some("a Windows executable"),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => Some("a macOS executable"),
        [b'G', b'G', b'U', b'F', ..] => Some("a model file (GGUF)"),
        [b'P', b'K', 3, 4, ..] => Some("a zip archive"),
        [0x1f, 0x8b, ..] => Some("a gzip archive"),
        head if head.contains(&0) => Some("neither an executable nor a script"),
        _ => None,
    };
    other
        .filter(|kind| std::env::consts::OS == "linux" || !kind.contains("macOS"))
        .map(|kind| format!("it is {kind}"))
}

/// Starts again while the file is still open for writing elsewhere (a build that just ended, or a
/// fork in another thread of ours); at most a quarter of a second.
pub(super) async fn retry_while_busy<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..25 {
        match start() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
    start()
}
