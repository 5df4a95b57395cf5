//! What the build command will find to build with, in its own words.
//!
//! Main function: [`asked`]. Which of these a build really uses only the build knows; one that it does not
//! use costs a second build when it changes, and no more.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Variables that make another program of the same sources.
const VARIABLES: [&str; 12] = [
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CMAKE_ARGS",
    "CMAKE_GENERATOR",
    "CMAKE_BUILD_TYPE",
    "RUSTFLAGS",
    "CUDACXX",
    "MAKEFLAGS",
];

/// A program that takes part in a build.
struct Tool {
    /// Names another one.
    variable: Option<&'static str>,
    /// Where it is without that; the first that is there.
    usual: &'static [&'static str],
    /// Asks for its version.
    flag: &'static str,
    /// Which line of the answer says it to people.
    shown: Shown,
}

enum Shown {
    First,
    Last,
}

const TOOLS: [Tool; 5] = [
    Tool { variable: Some("CC"), usual: &["cc"], flag: "--version", shown: Shown::First },
    Tool { variable: Some("CXX"), usual: &["c++"], flag: "--version", shown: Shown::First },
    Tool {
        variable: Some("CUDACXX"),
        // CMake looks in the second place too where there is none on the PATH.
        usual: &["nvcc", "/usr/local/cuda/bin/nvcc"],
        flag: "--version",
        shown: Shown::Last,
    },
    Tool { variable: None, usual: &["cmake"], flag: "--version", shown: Shown::First },
    Tool { variable: None, usual: &["rustc"], flag: "-V", shown: Shown::First },
];

/// For a version. Through a wrapper on a busy machine it takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The tools that are there, and the variables that change what they do.
pub(super) struct Toolchain {
    /// A line of each, for people.
    pub(super) words: String,
    /// Everything that they said: a CUDA compiler's version is not in its first line.
    pub(super) digested: String,
}

/// Asks them all, at the same time.
pub(super) async fn asked() -> Toolchain {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let answer = async |tool: &Tool| {
        let named = tool.variable.and_then(variable);
        let usual: Vec<String> = tool.usual.iter().map(|program| (*program).to_owned()).collect();
        for program in named.map_or(usual, |program| vec![program]) {
            if let Some(answer) = version(&program, tool.flag, PATIENCE).await {
                return Some(answer);
            }
        }
        None
    };
    let [cc, cxx, cuda, cmake, rust] = &TOOLS;
    let (cc, cxx, cuda, cmake, rust) =
        tokio::join!(answer(cc), answer(cxx), answer(cuda), answer(cmake), answer(rust));
    let variables: Vec<String> =
        VARIABLES.iter().filter_map(|name| Some(format!("{name}={}", variable(name)?))).collect();
    Toolchain::of([cc, cxx, cuda, cmake, rust], &variables)
}

impl Toolchain {
    /// Answers in the order of [`TOOLS`]; `None` of a tool that is not there.
    fn of(answers: [Option<String>; 5], variables: &[String]) -> Self {
        let answered =
            || TOOLS.iter().zip(&answers).filter_map(|(tool, said)| Some((tool, said.as_ref()?)));
        let mut words: Vec<&str> = answered()
            .filter_map(|(tool, said)| match tool.shown {
                Shown::First => said.lines().next(),
                Shown::Last => said.lines().next_back(),
            })
            .collect();
        if words.is_empty() {
            words.push("no compiler was found");
        }
        let variables = || variables.iter().map(String::as_str);
        let digested = answered().map(|(tool, said)| format!("{}: {said}", tool.usual[0]));
        Self {
            words: words.into_iter().chain(variables()).collect::<Vec<_>>().join("; "),
            digested: digested.chain(variables().map(str::to_owned)).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// What a program says of its version; `None` where there is no such program. `program` may have
/// arguments, such as `ccache gcc`.
async fn version(program: &str, flag: &str, patience: Duration) -> Option<String> {
    let mut words = program.split_whitespace();
    let child = Command::new(words.next()?)
        .args(words)
        .arg(flag)
        // A question must not make rustup fetch what a repository names and nobody has.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let group = super::group_of(&child);
    let Ok(asked) = tokio::time::timeout(patience, child.wait_with_output()).await else {
        super::kill(group);
        return Some(format!("{program}: no answer in {} s", patience.as_secs_f64()));
    };
    let said = String::from_utf8_lossy(&asked.ok()?.stdout).trim().to_owned();
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_version_is_what_a_program_says_and_one_that_hangs_is_not_waited_for() {
        let long = Duration::from_secs(60);
        assert_eq!(version("echo gcc 12.2", "--x", long).await.as_deref(), Some("gcc 12.2 --x"));
        assert_eq!(version("no-such-compiler", "--version", long).await, None);
        assert_eq!(version(" ", "--version", long).await, None);
        let hung = version("sleep 600", "0", Duration::from_millis(50)).await;
        assert_eq!(hung.as_deref(), Some("sleep 600: no answer in 0.05 s"));
    }

    #[test]
    fn a_line_of_each_is_shown_and_all_of_it_is_digested() {
        let cuda = "nvcc: the compiler\nrelease 12.4, V12.4.131\nBuild cuda_12.4/1";
        let answers = |cuda: &str| {
            let said = |text: &str| Some(text.to_owned());
            [said("cc 12\nfree software"), said("c++ 12"), said(cuda), None, said("rustc 1.90")]
        };
        let first = Toolchain::of(answers(cuda), &["CFLAGS=-O2".to_owned()]);
        assert_eq!(first.words, "cc 12; c++ 12; Build cuda_12.4/1; rustc 1.90; CFLAGS=-O2");
        let other =
            Toolchain::of(answers(&cuda.replace(".131", ".99")), &["CFLAGS=-O2".to_owned()]);
        assert_eq!(first.words, other.words);
        assert_ne!(first.digested, other.digested);
        let nothing = Toolchain::of([const { None }; 5], &[]);
        assert_eq!(nothing.words, "no compiler was found");
    }
}
