//! The help page on the variables that bench-ci reads.
//!
//! Main function: [`page`]. The variables behind flags come from the definition of the flags; the
//! others are written here, and a test compares them with the source. It reads none of them.

use std::collections::BTreeMap;

use clap::CommandFactory;

use super::Cli;

/// Variables without a flag, by what they are for.
const OTHERS: &[(&str, &[(&str, &str)])] = &[
    (
        "The Hugging Face Hub, with the meanings that its other tools give them",
        &[
            ("HF_TOKEN", "token for private and gated models; sent to the Hub alone"),
            ("HF_TOKEN_PATH", "file with that token [default: HF_HOME/token]"),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "send no token"),
            ("HF_ENDPOINT", "another Hub [default: https://huggingface.co]"),
            ("HF_HUB_CACHE", "the cache [default: HF_HOME/hub]"),
            ("HUGGINGFACE_HUB_CACHE", "the same, by its older name"),
            ("HF_HOME", "folder of cache and token [default: XDG_CACHE_HOME/huggingface]"),
            ("HF_HUB_OFFLINE", "1: take what is cached and ask nothing of the network"),
            ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY", "the way to it, also in lower case"),
        ],
    ),
    (
        "What bench-ci keeps (synthetic models, digests, extracts of datasets)",
        &[
            ("BENCH_CI_CACHE", "folder [default: XDG_CACHE_HOME/bench-ci]"),
            ("XDG_CACHE_HOME", "folder of all caches [default: HOME/.cache]"),
            ("HOME", "folder of the user"),
        ],
    ),
    (
        "Tags of the report, where no flag gives them",
        &[
            ("GITHUB_REPOSITORY", "the repository that the report is of"),
            ("GITHUB_SHA, GITHUB_REF, GITHUB_REF_NAME", "commit and branch"),
            ("GITHUB_REF_TYPE, GITHUB_HEAD_REF", "whether it is a tag, a pull request"),
            (
                "GITHUB_EVENT_NAME, GITHUB_EVENT_PATH",
                "the commit that a pull request is really about",
            ),
            (
                "GITHUB_BASE_REF",
                "the branch that a pull request changes, for ab --base-ref merge-base",
            ),
            ("RUNNER_NAME, RUNNER_OS, RUNNER_ARCH, ImageOS", "the machine's label"),
        ],
    ),
    (
        "Pushing a history",
        &[
            ("GITHUB_TOKEN", "sent to GITHUB_SERVER_URL alone; needs contents: write"),
            ("GITHUB_SERVER_URL", "the server of that token [default: https://github.com]"),
        ],
    ),
    (
        "In a job of GitHub Actions, unless --no-github",
        &[
            ("GITHUB_ACTIONS", "true there; nothing of the following is read without it"),
            ("GITHUB_STEP_SUMMARY", "the page of the run is appended to this file"),
            ("GITHUB_OUTPUT", "verdict, change-pct and the other outputs are too"),
            ("GITHUB_JOB, BENCH_CI_MATRIX", "name of the configuration: job, and matrix as JSON"),
            ("BENCH_CI_KEY", "what it is called instead"),
            ("GITHUB_SERVER_URL", "where its page is"),
        ],
    ),
    (
        "Telling GitHub, by `comment`",
        &[
            ("BENCH_CI_GITHUB_TOKEN, GITHUB_TOKEN", "the token; needs pull-requests: write"),
            ("GITHUB_API_URL", "the API, the token goes there alone [default: github.com's]"),
            ("GITHUB_GRAPHQL_URL", "its other half [default: beside it]"),
            ("GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT", "which of two comments is the newer"),
            ("GITHUB_STEP_SUMMARY", "where the page goes if the token may only read"),
            ("GITHUB_OUTPUT", "where the comment's address goes, as comment-url"),
        ],
    ),
    (
        "Prometheus, a user and a password or a token for each; sent nowhere else",
        &[
            ("BENCH_CI_PROMETHEUS_USERNAME, BENCH_CI_PROMETHEUS_PASSWORD", "for --prometheus"),
            ("BENCH_CI_PROMETHEUS_BEARER_TOKEN", "the same, as a token"),
            (
                "BENCH_CI_REMOTE_WRITE_USERNAME, BENCH_CI_REMOTE_WRITE_PASSWORD",
                "for --prometheus-remote-write",
            ),
            ("BENCH_CI_REMOTE_WRITE_BEARER_TOKEN", "the same, as a token"),
            ("BENCH_CI_PUSHGATEWAY_USERNAME, BENCH_CI_PUSHGATEWAY_PASSWORD", "for --pushgateway"),
            ("BENCH_CI_PUSHGATEWAY_BEARER_TOKEN", "the same, as a token"),
        ],
    ),
    (
        "Others",
        &[
            ("PATH", "where llama-server is looked for, and nvidia-smi"),
            (
                "BENCH_CI_NVML_LIBRARY",
                "another NVML than the driver's; for tests [default: libnvidia-ml.so.1]",
            ),
            ("LLAMA_API_KEY", "llama-server's own: a server that we start reads it too"),
            ("LLAMA_ARG_FIT", "llama-server's own: where it is set, ab does not pass --fit off"),
            ("SSL_CERT_FILE, SSL_CERT_DIR", "certificates to trust in place of the system's"),
            ("CI", "plain lines of progress, even on a terminal"),
            ("NO_COLOR", "no colours"),
            (
                "BENCH_CI_AB_PADDING",
                "set by ab for a server: evens out the size of both environments",
            ),
        ],
    ),
];

/// The page, as `bench-ci help environment` prints it.
#[must_use]
pub fn page() -> String {
    let row = |name: &str, meaning: &str| format!("  {name:<44} {meaning}\n");
    let mut text =
        String::from("Variables that bench-ci reads.\n\nIn place of a flag, which wins\n");
    for (name, flags) in of_flags() {
        text.push_str(&row(&name, &flags.join(", ")));
    }
    for (title, variables) in OTHERS {
        text.push_str(&format!("\n{title}\n"));
        text.extend(variables.iter().map(|(name, meaning)| row(name, meaning)));
    }
    text
}

/// The flags behind each variable; a flag of `bench-py` is named with it where it differs.
fn of_flags() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let command = Cli::command();
    let bench_py = command
        .find_subcommand("bench-py")
        .into_iter()
        .flat_map(|sub| sub.get_arguments().map(|argument| (" of bench-py", argument)));
    for (whose, argument) in command.get_arguments().map(|argument| ("", argument)).chain(bench_py)
    {
        let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) else {
            continue;
        };
        let flags = found.entry(variable.to_string_lossy().into_owned()).or_default();
        let flag = format!("--{flag}");
        if !flags.contains(&flag) {
            flags.push(flag + whose);
        }
    }
    found
}
