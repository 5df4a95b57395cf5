//! What one build of llama-server understands, read from its own `--help` and `--version`.
//!
//! Main type: [`Capabilities`]. Pure: text in, facts out; [`super::probe()`] runs the program. The
//! help texts of llama.cpp changed shape several times, so only what all shapes share is used: a
//! flag line begins with `-` near the margin, names are parted by commas, and two blanks (or the
//! line's end) part names and value from the description.

/// What one build of llama-server understands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// The flags of its help, in the order of the help. Empty if the help could not be read; then
    /// nothing is known and every flag is taken to exist.
    flags: Vec<Flag>,
    /// Its version; `None` if it did not say.
    pub version: Option<Version>,
    /// What could not be found out, in words for the report.
    pub warnings: Vec<String>,
}

/// One flag of a help text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// All its names, as in the help, such as `-fa` and `--flash-attn`. Never empty.
    pub names: Vec<String>,
    /// The placeholder of its value, such as `N` or `[on|off|auto]`; `None` if it takes none.
    pub value: Option<String>,
    /// Its description, lines joined by blanks.
    pub description: String,
}

/// What a build says about itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// The text behind `version:`, such as `4242 (abcdef0)`.
    pub text: String,
    /// Build number; `None` if it is not said or 0 (built outside a git checkout).
    pub build: Option<u64>,
    /// Commit, as short as it is printed; `None` if it is not said or `unknown`.
    pub commit: Option<String>,
}

impl Capabilities {
    /// Reads the two texts; each may be empty.
    #[must_use]
    pub fn read(help: &str, version: &str) -> Self {
        Self { flags: read_help(help), version: Version::read(version), warnings: Vec::new() }
    }

    /// The simulator of this binary, which takes everything that llama-server takes and wants a value
    /// behind `--flash-attn`, as llama-server does today.
    #[must_use]
    pub fn of_simulator() -> Self {
        let text = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            flags: read_help(crate::sim::FLAGS),
            version: Some(Version { text, build: None, commit: None }),
            warnings: Vec::new(),
        }
    }

    /// Whether the help could be read. If not, every flag is taken to exist.
    #[must_use]
    pub fn known(&self) -> bool {
        !self.flags.is_empty()
    }

    /// The flag with this name, such as `--parallel` or `-np`.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.names.iter().any(|candidate| candidate == name))
    }

    /// Whether a flag with one of these names exists, or may exist because nothing is known.
    #[must_use]
    pub fn has_any(&self, names: &[&str]) -> bool {
        !self.known() || names.iter().any(|name| self.flag(name).is_some())
    }

    /// The first of these names that exists; the first of all if nothing is known.
    #[must_use]
    pub fn spelling<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        if !self.known() {
            return names.first().copied();
        }
        names.iter().copied().find(|name| self.flag(name).is_some())
    }

    /// Whether `--flash-attn` wants a value (`on`, `off`, `auto`); `None` if nothing is known or
    /// the flag does not exist.
    #[must_use]
    pub fn flash_attn_wants_value(&self) -> Option<bool> {
        self.flag("--flash-attn").or_else(|| self.flag("-fa")).map(|flag| flag.value.is_some())
    }
}

impl Version {
    /// Reads what `--version` printed; device lines may surround it. `None` if nothing was printed.
    #[must_use]
    pub fn read(printed: &str) -> Option<Self> {
        let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
        let text = match lines.clone().find_map(|line| line.strip_prefix("version:")) {
            Some(text) => text.trim(),
            None => lines.next()?,
        };
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        let in_parentheses = text
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(inner, _)| inner);

        // Today: `0.6.0-dev (build 11434, commit abcdef0)`. Before: `4242 (abcdef0)`.
        let mut build = None;
        let mut commit = None;
        if in_parentheses.contains("build ") || in_parentheses.contains("commit ") {
            for part in in_parentheses.split(',').map(str::trim) {
                if let Some(number) = part.strip_prefix("build ") {
                    build = number.parse().ok();
                } else if let Some(hash) = part.strip_prefix("commit ") {
                    commit = Some(hash.to_owned());
                }
            }
        } else {
            build = text.split_whitespace().next().and_then(|word| word.parse().ok());
            commit = Some(in_parentheses.to_owned());
        }
        let commit = commit
            .filter(|hash| hash.len() >= 4 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(Self { text, build: build.filter(|number| *number != 0), commit })
    }
}

/// A flag line begins at most this far from the margin; descriptions begin at 26 or more.
const MARGIN: usize = 8;

fn read_help(help: &str) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for line in help.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            continue;
        }
        match read_flag_line(content).filter(|_| indent <= MARGIN) {
            Some(flag) => flags.push(flag),
            None => {
                // Headings such as `----- common params -----` are at the margin.
                if let Some(flag) = flags.last_mut().filter(|_| indent > MARGIN) {
                    if !flag.description.is_empty() {
                        flag.description.push(' ');
                    }
                    flag.description.push_str(content.trim_end());
                }
            }
        }
    }
    flags
}

/// Reads `-fa,   --flash-attn [on|off|auto]   text`, `-ngl N, --n-gpu-layers N   text`.
fn read_flag_line(line: &str) -> Option<Flag> {
    let mut names = Vec::new();
    let mut value = None;
    let mut rest = line;
    loop {
        let end = rest.find([',', ' ', '=']).unwrap_or(rest.len());
        let name = &rest[..end];
        if !is_flag_name(name) {
            return None;
        }
        names.push(name.to_owned());
        rest = &rest[end..];

        // Behind a name: another name, a value after one blank, or the description.
        if let Some(next) = next_name(rest) {
            rest = next;
            continue;
        }
        if rest.starts_with([' ', '=']) && !rest.starts_with("  ") {
            rest = &rest[1..];
            let until_blanks = rest.find("  ").unwrap_or(rest.len());
            // The old shape repeats the value behind each name: `-ngl N, --n-gpu-layers N`.
            let until_name = rest.find(", -").unwrap_or(rest.len());
            let end = until_blanks.min(until_name);
            let placeholder = rest[..end].trim();
            if !placeholder.is_empty() {
                value = Some(placeholder.to_owned());
            }
            rest = &rest[end..];
            if let Some(next) = next_name(rest) {
                rest = next;
                continue;
            }
        }
        break;
    }
    Some(Flag { names, value, description: rest.trim().to_owned() })
}

/// Behind `,` and blanks, the next flag name begins.
fn next_name(rest: &str) -> Option<&str> {
    let next = rest.strip_prefix(',')?.trim_start();
    next.starts_with('-').then_some(next)
}

fn is_flag_name(name: &str) -> bool {
    let bare = name.trim_start_matches('-');
    let dashes = name.len() - bare.len();
    (1..=2).contains(&dashes)
        && bare.starts_with(|c: char| c.is_ascii_alphabetic())
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: &str = include_str!("../../tests/fixtures/llama-server/help-11434.txt");
    const TODAY_VERSION: &str = include_str!("../../tests/fixtures/llama-server/version-11434.txt");
    const OLDER: &str = include_str!("../../tests/fixtures/llama-server/help-2024.txt");
    const OLDEST: &str = include_str!("../../tests/fixtures/llama-server/help-early-2024.txt");

    #[track_caller]
    fn check(help: &str, name: &str, value: Option<&str>) {
        let capabilities = Capabilities::read(help, "");
        let flag = capabilities.flag(name);
        let flag = flag.unwrap_or_else(|| panic!("the help has no {name}"));
        assert_eq!(flag.value.as_deref(), value, "{name}");
    }

    #[test]
    fn flags_of_the_recorded_help_are_found_under_all_their_names() {
        for (name, value) in [
            ("-fa", Some("[on|off|auto]")),
            ("--flash-attn", Some("[on|off|auto]")),
            ("--metrics", None),
            ("--slots", None),
            ("--no-slots", None),
            ("-np", Some("N")),
            ("--parallel", Some("N")),
            ("-ngl", Some("N")),
            ("--gpu-layers", Some("N")),
            ("--n-gpu-layers", Some("N")),
            ("-c", Some("N")),
            ("--ctx-size", Some("N")),
            ("--batch-size", Some("N")),
            ("--ubatch-size", Some("N")),
            ("-cb", None),
            ("--cont-batching", None),
            ("--no-cont-batching", None),
            ("--control-vector-layer-range", Some("START END")),
            ("--override-tensor", Some("<tensor name pattern>=<buffer type>,...")),
            ("--override-kv", Some("KEY=TYPE:VALUE,...")),
            ("--fit-target", Some("MiB0,MiB1,MiB2,...")),
            ("--usage", None),
            ("--fim-qwen-1.5b-default", None),
        ] {
            check(TODAY, name, value);
        }
    }

    #[test]
    fn no_line_of_a_description_is_taken_for_a_flag() {
        let capabilities = Capabilities::read(TODAY, "");
        let lines = TODAY.lines().filter(|line| line.starts_with('-') && !line.starts_with("---"));
        assert_eq!(capabilities.flags.len(), lines.count());
        let flash = capabilities.flag("-fa").expect("recorded");
        assert_eq!(
            flash.description,
            "set Flash Attention use ('on', 'off', or 'auto', default: 'auto') (env: LLAMA_ARG_FLASH_ATTN)"
        );
    }

    #[test]
    fn flash_attn_is_bare_on_older_builds_and_wants_a_value_today() {
        assert_eq!(Capabilities::read(TODAY, "").flash_attn_wants_value(), Some(true));
        assert_eq!(Capabilities::read(OLDER, "").flash_attn_wants_value(), Some(false));
        assert_eq!(Capabilities::read(OLDEST, "").flash_attn_wants_value(), Some(false));
        assert_eq!(Capabilities::default().flash_attn_wants_value(), None);
        let between = "-fa,   --flash-attn FA                  set Flash Attention use";
        assert_eq!(Capabilities::read(between, "").flash_attn_wants_value(), Some(true));
    }

    /// bench.py's command line ends in a bare `--flash-attn`, and must work with the simulator too.
    #[test]
    fn the_simulators_flags_are_known() {
        let simulator = Capabilities::of_simulator();
        assert_eq!(simulator.flash_attn_wants_value(), Some(true));
        for name in ["--metrics", "--slots", "--parallel", "-ngl"] {
            assert!(simulator.flag(name).is_some(), "{name}");
        }
    }

    #[test]
    fn older_shapes_of_the_help_are_read() {
        for (name, value) in
            [("--n-gpu-layers", Some("N")), ("--parallel", Some("N")), ("--metrics", None)]
        {
            check(OLDER, name, value);
            check(OLDEST, name, value);
        }
        check(OLDEST, "-ngl", Some("N"));
        check(OLDEST, "--slots-endpoint-disable", None);
        check(OLDEST, "--host", Some("HOST"));
        assert!(Capabilities::read(OLDEST, "").flag("--slots").is_none());
        check(OLDER, "-fa", None);
    }

    #[test]
    fn nothing_known_means_that_every_flag_may_exist() {
        let unknown = Capabilities::read("what a strange program\n", "");
        assert!(!unknown.known());
        assert!(unknown.has_any(&["--metrics"]));
        assert_eq!(unknown.spelling(&["--n-gpu-layers", "-ngl"]), Some("--n-gpu-layers"));
    }

    #[track_caller]
    fn check_version(printed: &str, text: &str, build: Option<u64>, commit: Option<&str>) {
        let version = Version::read(printed).expect("something was printed");
        assert_eq!(version.text, text);
        assert_eq!(version.build, build);
        assert_eq!(version.commit.as_deref(), commit);
    }

    #[test]
    fn versions_of_all_shapes_are_read() {
        check_version(TODAY_VERSION, "0.6.0-dev (build 0, commit unknown)", None, None);
        check_version(
            "version: 4242 (abcdef0)\nbuilt with cc",
            "4242 (abcdef0)",
            Some(4242),
            Some("abcdef0"),
        );
        check_version(
            "ggml_cuda_init: found 1 CUDA devices:\n  Device 0: X\nversion: 0.6.1 (build 11500, commit 1a2b3c4d5)\n",
            "0.6.1 (build 11500, commit 1a2b3c4d5)",
            Some(11500),
            Some("1a2b3c4d5"),
        );
        check_version("my-server 1.2\n", "my-server 1.2", None, None);
        check_version("version: 0 (unknown)", "0 (unknown)", None, None);
        assert_eq!(Version::read("  \n"), None);
    }
}
