//! The flags of `ab`: which two are compared, and how.
//!
//! Main type: [`AbArgs`]. Everything of `run` is taken for both sides.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::{
    ClientLimitArgs, DerivedArgs, FailOn, LimitArgs, ModelArgs, OutputArgs, PrometheusArgs,
    RequestArgs, RunArgs, ServerArgs, SuiteArgs, TagArgs, WorkloadArgs,
};
use crate::plan::{duration, percent};

/// Everything `bench-ci ab` takes.
#[derive(Debug, Clone, Args)]
pub struct AbArgs {
    /// The two sides.
    #[command(flatten)]
    pub sides: SideArgs,
    /// The comparison.
    #[command(flatten)]
    pub design: DesignArgs,
    /// Finished comparisons.
    #[command(flatten)]
    pub sessions: SessionArgs,
    /// For both sides.
    #[command(flatten)]
    pub run: BothArgs,
}

/// Finished comparisons that are put together.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Several machines (nothing is played)")]
pub struct SessionArgs {
    /// Put the ab.json of several machines together, in place of playing one
    ///
    /// Or their folders. Of two, both must say it; from three on a change is the mean over machines (random
    /// effects), with an interval that knows how much they differ. What does not belong together is refused by
    /// name. Bars are those of the sessions. Writes ab.json and ab.md to an --out-dir of its own.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = [
        "base_server", "head_server", "base_ref", "head_ref", "build", "base_args", "head_args", "base_env",
        "head_env", "aa", "budget", "pairs", "delta", "bars", "floors", "resume", "restart_mode", "model",
        "hf_repo", "url", "users", "extra_args",
    ])]
    pub sessions: Vec<PathBuf>,
    /// Judge other models, workloads and flags too, as cells of a matrix
    ///
    /// Each cell is put together of its own sessions, of which one is enough. Holm's rule goes over the deciding
    /// metrics of all cells, so that a large matrix raises no more false alarms than one cell.
    #[arg(long, requires = "sessions")]
    pub matrix: bool,
}

/// The flags of `run` that both sides have: all but those of sweeps and searches, whose words mean
/// something else here, and those that would be without effect.
#[derive(Debug, Clone, Args)]
pub struct BothArgs {
    /// Model flags.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Server flags.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Workload flags.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Request flags.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// Output flags.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<BothArgs> for RunArgs {
    fn from(both: BothArgs) -> Self {
        let BothArgs { model, server, workload, request, limits, tags, output } = both;
        Self {
            model,
            server,
            workload,
            request,
            suite: SuiteArgs::default(),
            limits,
            client_limits: ClientLimitArgs::default(),
            derived: DerivedArgs::default(),
            prometheus: PrometheusArgs::default(),
            tags,
            output,
        }
    }
}

/// Which two are compared.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sides (base is what there was, head is what is proposed)")]
pub struct SideArgs {
    /// llama-server of base, or `sim` [default: --server]
    #[arg(long, value_name = "PATH|sim")]
    pub base_server: Option<String>,
    /// llama-server of head, or `sim` [default: --server]
    #[arg(long, value_name = "PATH|sim")]
    pub head_server: Option<String>,
    /// Commit of base, built here: a branch, tag or hash, or `merge-base`
    ///
    /// merge-base is the commit from which the pull request's own changes begin: of the merge commit that
    /// GitHub checks out, its first parent; else where head left its base branch, which must be in the clone.
    #[arg(long, value_name = "REF", conflicts_with = "base_server")]
    pub base_ref: Option<String>,
    /// Commit of head, built here: a branch, tag or hash, or HEAD
    #[arg(long, value_name = "REF", conflicts_with = "head_server")]
    pub head_ref: Option<String>,
    /// Shell command that builds a server in a work tree of its commit
    ///
    /// Each commit is built once; what was built is kept in bench-ci's cache by commit, command and what
    /// compilers and CMake say of their versions. The 20 builds that were used last stay there.
    #[arg(long, value_name = "COMMAND")]
    pub build: Option<String>,
    /// The built executable, from the root of the work tree
    #[arg(long, value_name = "PATH", requires = "build")]
    pub server_path: Option<PathBuf>,
    /// Further server arguments of base alone, quoted as for a shell
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub base_args: Option<String>,
    /// Further server arguments of head alone, quoted as for a shell
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub head_args: Option<String>,
    /// An environment variable of base alone; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub base_env: Vec<KeyValue>,
    /// An environment variable of head alone; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub head_env: Vec<KeyValue>,
    /// Compare --server with itself: how fine this machine can see
    #[arg(long, conflicts_with_all = ["head_server", "head_ref", "base_args", "head_args", "base_env", "head_env"])]
    pub aa: bool,
}

/// How the comparison is made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Comparison")]
pub struct DesignArgs {
    /// Time that the whole call may take, builds and teardown included
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub budget: Duration,
    /// Most pairs that are played [default: 16, with looks at 9, 12 and 16]
    ///
    /// A pair is a block: both servers started anew, then many short turns. Fewer than 7 cannot show anything;
    /// more than 200 are refused.
    #[arg(long, value_name = "N")]
    pub pairs: Option<u32>,
    /// The slow-down that matters [default: 2 %, of TTFT 3 %]
    #[arg(long, value_name = "PERCENT", value_parser = percent::parse)]
    pub delta: Option<f64>,
    /// The slow-down of one metric that matters; may be repeated
    ///
    /// A metric with a bar of its own decides. output_tokens_per_second, ttft_ms_p50 and itl_ms_p50 decide in
    /// any case; e2e_ms_p50, tpot_ms_p50, prompt_tokens_per_second, server_cpu_ms_per_output_token and start_s
    /// are only shown. ttft_ms and e2e_ms at p95 and p99 are shown where trials have 400 and 2,000 requests, and
    /// never decide.
    #[arg(long = "bar", value_name = "METRIC=PERCENT")]
    pub bars: Vec<BarArg>,
    /// A change of a metric that never matters; may be repeated [default: 1ms]
    ///
    /// In the metric's unit, such as ttft_ms_p50=2ms. The default is for latencies that decide.
    #[arg(long = "floor", value_name = "METRIC=VALUE")]
    pub floors: Vec<FloorArg>,
    /// Which verdicts fail the call
    ///
    /// regressed: exit 3 where head is slower. inconclusive: also exit 4 where it cannot tell. improved: also
    /// exit 3 where head is faster. Numbers that are no evidence always end in exit 5, except with never, which
    /// leaves with 0 whatever the verdict.
    #[arg(long, value_name = "VERDICT", value_enum, default_value_t = FailOn::Regressed)]
    pub fail_on: FailOn,
    /// Carry on with the pairs that are missing in --out-dir, after Ctrl-C or a crash
    #[arg(long)]
    pub resume: bool,
    /// Run one server at a time, started anew for each trial; several times coarser
    ///
    /// It is chosen by itself where both servers do not fit at once.
    #[arg(long)]
    pub restart_mode: bool,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Before the first equals sign.
    pub name: String,
    /// Behind it.
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            // The value may be a secret, so nothing of it is shown.
            _ => Err("expected NAME=VALUE".to_owned()),
        }
    }
}

/// `METRIC=PERCENT`.
#[derive(Debug, Clone, PartialEq)]
pub struct BarArg {
    /// As typed.
    pub metric: String,
    /// A fraction above 0.
    pub bar: f64,
}

impl FromStr for BarArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (metric, value) =
            text.split_once('=').ok_or("expected METRIC=PERCENT, such as ttft_ms_p50=3%")?;
        Ok(Self { metric: metric.trim().to_owned(), bar: percent::parse(value)? })
    }
}

/// `METRIC=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct FloorArg {
    /// As typed.
    pub metric: String,
    /// In the metric's unit, at least 0.
    pub floor: f64,
}

impl FromStr for FloorArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "expected METRIC=VALUE, such as ttft_ms_p50=1ms";
        let (metric, value) = text.split_once('=').ok_or(SHAPE)?;
        let value = value.trim();
        let floor = match duration::parse(value) {
            Ok(time) if metric.contains("_ms") => 1e3 * time.as_secs_f64(),
            Ok(time) if metric.trim().ends_with("_s") => time.as_secs_f64(),
            _ => value.parse().map_err(|_not_a_number| SHAPE)?,
        };
        if !(f64::is_finite(floor) && floor >= 0.0) {
            return Err(SHAPE.to_owned());
        }
        Ok(Self { metric: metric.trim().to_owned(), floor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_floors_are_read_with_their_units() {
        let bar: BarArg = "output_tokens_per_second=2.5%".parse().unwrap();
        assert!((bar.bar - 0.025).abs() < 1e-12);
        assert!("ttft_ms_p50=0%".parse::<BarArg>().is_err());
        assert!("ttft_ms_p50".parse::<BarArg>().is_err());
        let floor: FloorArg = "ttft_ms_p50=1.5ms".parse().unwrap();
        assert!((floor.floor - 1.5).abs() < 1e-12);
        let floor: FloorArg = "ttft_ms_p50=2".parse().unwrap();
        assert!((floor.floor - 2.0).abs() < 1e-12);
        let floor: FloorArg = "start_s=250ms".parse().unwrap();
        assert!((floor.floor - 0.25).abs() < 1e-12);
        assert!("output_tokens_per_second=1s".parse::<FloorArg>().is_err());
        assert!("ttft_ms_p50=-1".parse::<FloorArg>().is_err());
    }

    #[test]
    fn a_malformed_variable_is_refused_without_its_value() {
        assert_eq!("A=b=c".parse(), Ok(KeyValue { name: "A".into(), value: "b=c".into() }));
        assert!("=secret".parse::<KeyValue>().is_err_and(|error| !error.contains("secret")));
    }
}
