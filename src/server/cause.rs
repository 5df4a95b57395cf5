//! Why a server ended, read from its log, its exit and its executable.
//!
//! Main type: [`Cause`]. Pure: it looks at text that others collected. A cause is a reading, not a
//! proof, so the log lines it was read from are always shown with it.

/// Why a server ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The model file is not there.
    ModelMissing,
    /// The model file is there and cannot be loaded.
    ModelUnreadable,
    /// A flag that the build does not know.
    UnknownArgument,
    /// A flag with a value that the build does not accept, or without one.
    BadArgument,
    /// Somebody else has the port.
    PortTaken,
    /// Memory of the host or of a device ran out.
    OutOfMemory,
    /// A shared library is missing or too old.
    MissingLibrary,
    /// Not permitted by the operating system.
    PermissionDenied,
    /// SIGILL: built for a CPU with more instructions than this one.
    IllegalInstruction,
    /// SIGKILL from outside; nearly always the kernel's out-of-memory killer or a container limit.
    KilledFromOutside,
    /// SIGSEGV, SIGABRT, SIGBUS, SIGFPE.
    Crashed,
    /// Ended with status 0 by itself.
    EndedByItself,
    /// The log does not say.
    Unknown,
}

impl Cause {
    /// The cause for a person, as a fragment; `None` if it is not known.
    #[must_use]
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Cause::ModelMissing => Some("the model file does not exist"),
            Cause::ModelUnreadable => Some("the model could not be loaded"),
            Cause::UnknownArgument => Some("it does not know one of its arguments"),
            Cause::BadArgument => Some("it does not accept one of its arguments"),
            Cause::PortTaken => Some("it could not listen on its port"),
            Cause::OutOfMemory => Some("memory ran out"),
            Cause::MissingLibrary => Some("a shared library is missing"),
            Cause::PermissionDenied => Some("permission denied"),
            Cause::IllegalInstruction => Some("it was built for another CPU"),
            Cause::KilledFromOutside => Some("killed from outside, probably for memory"),
            Cause::Crashed => Some("it crashed"),
            Cause::EndedByItself => Some("it ended by itself instead of serving"),
            Cause::Unknown => None,
        }
    }

    /// What to do about it, as a fragment; `None` if only the log can tell.
    #[must_use]
    pub const fn cure(self) -> Option<&'static str> {
        match self {
            Cause::ModelMissing => Some("check the path given to --model"),
            Cause::ModelUnreadable => {
                Some("check the file with \"bench-ci model inspect\", or download it again")
            }
            Cause::UnknownArgument | Cause::BadArgument => {
                Some("check the arguments behind -- against this build's --help")
            }
            Cause::PortTaken => Some("leave --port out to get a free one"),
            Cause::OutOfMemory => Some("lower --n-gpu-layers, --ctx-size or --parallel"),
            Cause::KilledFromOutside => Some(
                "lower --ctx-size or --parallel, use a smaller model, or raise the memory limit",
            ),
            Cause::MissingLibrary => {
                Some("install the library, set LD_LIBRARY_PATH, or use a build for this machine")
            }
            Cause::PermissionDenied => Some("check the permissions of the files named in the log"),
            Cause::IllegalInstruction => Some("use a build for this machine's CPU"),
            Cause::Crashed | Cause::EndedByItself | Cause::Unknown => None,
        }
    }
}

/// Phrases that name a cause, most telling first: a line about memory beats the general
/// `failed to load model` that follows it.
const PHRASES: &[(&str, Cause)] = &[
    ("error while loading shared libraries", Cause::MissingLibrary),
    ("library not loaded", Cause::MissingLibrary),
    ("' not found (required by", Cause::MissingLibrary),
    ("couldn't bind", Cause::PortTaken),
    ("could not bind", Cause::PortTaken),
    ("failed to bind", Cause::PortTaken),
    ("address already in use", Cause::PortTaken),
    ("eaddrinuse", Cause::PortTaken),
    ("exiting due to http server error", Cause::PortTaken),
    ("out of memory", Cause::OutOfMemory),
    ("unable to allocate", Cause::OutOfMemory),
    ("failed to allocate", Cause::OutOfMemory),
    ("cannot allocate memory", Cause::OutOfMemory),
    ("std::bad_alloc", Cause::OutOfMemory),
    ("erroroutofdevicememory", Cause::OutOfMemory),
    ("invalid argument:", Cause::UnknownArgument),
    ("unknown argument", Cause::UnknownArgument),
    ("unrecognized argument", Cause::UnknownArgument),
    ("unrecognized option", Cause::UnknownArgument),
    ("unexpected argument", Cause::UnknownArgument),
    ("error while handling argument", Cause::BadArgument),
    ("invalid parameter for argument", Cause::BadArgument),
    ("permission denied", Cause::PermissionDenied),
    ("no such file or directory", Cause::ModelMissing),
    ("failed to open gguf", Cause::ModelUnreadable),
    ("failed to load model", Cause::ModelUnreadable),
    ("error loading model", Cause::ModelUnreadable),
    ("exiting due to model loading error", Cause::ModelUnreadable),
    ("invalid magic", Cause::ModelUnreadable),
];

/// The cause that one log line names, and its rank (lower is more telling).
pub(super) fn of_line(line: &str) -> Option<(usize, Cause)> {
    let lower = line.to_ascii_lowercase();
    let (rank, (_, cause)) =
        PHRASES.iter().enumerate().find(|(_, (phrase, _))| lower.contains(phrase))?;
    // "No such file" is about the model only where a model is spoken of; a missing template or
    // grammar file is something else.
    let about_model = lower.contains("gguf") || lower.contains("model");
    match cause {
        Cause::ModelMissing if !about_model => None,
        cause => Some((rank, *cause)),
    }
}

/// The cause of an end, from the log lines that name one and from the exit.
///
/// `lines` in the order of the log; `status` and `signal` of the exit, one of them.
#[must_use]
pub fn of_end(lines: &[String], status: Option<i32>, signal: Option<&str>) -> Cause {
    if let Some((_, cause)) =
        lines.iter().filter_map(|line| of_line(line)).min_by_key(|(rank, _)| *rank)
    {
        return cause;
    }
    match (status, signal) {
        (_, Some("SIGKILL")) => Cause::KilledFromOutside,
        (_, Some("SIGILL")) => Cause::IllegalInstruction,
        (_, Some("SIGSEGV" | "SIGABRT" | "SIGBUS" | "SIGFPE")) => Cause::Crashed,
        (Some(0), None) => Cause::EndedByItself,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expected: Cause) {
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        assert_eq!(of_end(&lines, Some(1), None), expected, "{log}");
    }

    #[test]
    fn the_real_ones_last_words_are_understood() {
        // Recorded from llama.cpp 0.6.0-dev.
        check(
            "0.00.012 E gguf_init_from_file: failed to open GGUF file '/nope.gguf' (No such file or directory)\n\
             0.00.012 E srv    load_model: failed to load model, '/nope.gguf'\n\
             0.00.012 E srv  llama_server: exiting due to model loading error",
            Cause::ModelMissing,
        );
        check(
            "0.00.005 E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'\n\
             0.00.005 E srv    load_model: failed to load model, '/c.gguf'",
            Cause::ModelUnreadable,
        );
        check("error: invalid argument: --foo", Cause::UnknownArgument);
        check(
            "error while handling argument \"-fa\": expected value for argument",
            Cause::BadArgument,
        );
        check(
            "0.00.004 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18998\n\
             0.00.008 E srv  llama_server: exiting due to HTTP server error",
            Cause::PortTaken,
        );
    }

    #[test]
    fn a_telling_line_beats_the_general_one_that_follows() {
        check(
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9318.00 MiB on device 0: cudaMalloc failed: out of memory\n\
             llama_model_load: error loading model: unable to allocate CUDA0 buffer\n\
             srv load_model: failed to load model, 'm.gguf'",
            Cause::OutOfMemory,
        );
        check(
            "failed to open GGUF file '/m.gguf' (Permission denied)\nfailed to load model",
            Cause::PermissionDenied,
        );
        check(
            "llama-server: error while loading shared libraries: libllama.so.0: cannot open shared object file: No such file or directory",
            Cause::MissingLibrary,
        );
    }

    #[test]
    fn without_a_telling_line_the_exit_tells() {
        let none = ["all slots are idle".to_owned()];
        assert_eq!(of_end(&none, None, Some("SIGKILL")), Cause::KilledFromOutside);
        assert_eq!(of_end(&none, None, Some("SIGILL")), Cause::IllegalInstruction);
        assert_eq!(of_end(&none, None, Some("SIGSEGV")), Cause::Crashed);
        assert_eq!(of_end(&none, Some(0), None), Cause::EndedByItself);
        assert_eq!(of_end(&none, Some(3), None), Cause::Unknown);
        assert_eq!(of_line("cannot open grammar file: No such file or directory"), None);
    }
}
