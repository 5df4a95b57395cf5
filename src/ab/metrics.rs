//! Which metrics are compared, and how large a change of each matters.
//!
//! Main functions: [`rules`], from the flags and the scenario; [`of_turn`], the values of one turn.

use std::collections::BTreeMap;

use crate::cli::DesignArgs;
use crate::plan::problem::{Place, Problem, nearest, quoted};
use crate::plan::scenario::Gate;
use crate::stats::{Better, Summary, metric};
use crate::verdict::{Role, Rule};

/// Generated tokens of completed requests per second of loaded time.
pub(super) const OUTPUT_RATE: &str = "output_tokens_per_second";
/// Processor time of the server's processes over the tokens that they generated.
pub(super) const SERVER_CPU: &str = "server_cpu_ms_per_output_token";
/// From spawn to healthy.
pub(super) const START: &str = "start_s";
/// Counted, not measured.
pub(super) const FAILED: &str = "failed_requests";

/// Everything that is compared, in the order of reports: name, unit, direction, role unless a bar
/// makes it a gate.
const COMPARED: [(&str, &str, Better, Role); 9] = [
    (OUTPUT_RATE, "tokens/s", Better::Higher, Role::Gate),
    ("ttft_ms_p50", "ms", Better::Lower, Role::Gate),
    ("itl_ms_p50", "ms", Better::Lower, Role::Gate),
    ("e2e_ms_p50", "ms", Better::Lower, Role::Observe),
    ("tpot_ms_p50", "ms", Better::Lower, Role::Observe),
    ("prompt_tokens_per_second", "tokens/s", Better::Higher, Role::Observe),
    (SERVER_CPU, "ms", Better::Lower, Role::Observe),
    (START, "s", Better::Lower, Role::Observe),
    (FAILED, "", Better::Lower, Role::Exact),
];

/// The public names of everything that is compared.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMPARED.iter().map(|(name, ..)| *name)
}

/// Every metric that a turn has, with its direction.
pub(super) fn directions() -> impl Iterator<Item = (&'static str, Better)> {
    let of_a_pair = [SERVER_CPU, START, FAILED];
    COMPARED
        .iter()
        .filter(move |(name, ..)| !of_a_pair.contains(name))
        .map(|(name, _, better, _)| (*name, *better))
}

/// The rules of a session: gates first, the rest in the order of reports.
///
/// The flags stand over the scenario. A metric with a bar of its own gates.
pub(super) fn rules(args: &DesignArgs, gates: &[Gate], problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = COMPARED
        .iter()
        .map(|(name, unit, better, role)| {
            let mut rule = Rule::by_default(name, unit, *better, *role);
            if *role != Role::Gate {
                rule.floor = 0.0;
            }
            if let Some(delta) = args.delta.filter(|_| *role == Role::Gate) {
                rule.bar = delta;
            }
            rule
        })
        .collect();
    let mut set = |place: Place, name: &str, bar: Option<f64>, floor: Option<f64>| {
        let found = rules.iter_mut().find(|rule| {
            // `ttft_ms=3%` means its median, which is what is compared.
            rule.role != Role::Exact
                && (rule.metric == name || rule.metric.strip_suffix("_p50") == Some(name))
        });
        let Some(rule) = found else {
            let known: Vec<&str> = names().filter(|known| *known != FAILED).collect();
            let mut problem = Problem::new(
                place,
                format!("no metric \"{name}\" is compared; there are {}", quoted(&known)),
            );
            if let Some(near) = nearest(name, known) {
                problem = problem.hinting(format!("did you mean \"{near}\"?"));
            }
            problems.push(problem);
            return;
        };
        if let Some(bar) = bar {
            rule.role = Role::Gate;
            rule.bar = bar;
        }
        if let Some(floor) = floor {
            rule.floor = floor;
        }
    };
    for gate in gates {
        set(gate.place, &gate.metric, gate.bar, gate.floor);
    }
    for typed in &args.bars {
        set(Place::Flag("--bar"), &typed.metric, Some(typed.bar), None);
    }
    for typed in &args.floors {
        set(Place::Flag("--floor"), &typed.metric, None, Some(typed.floor));
    }
    rules.sort_by_key(|rule| match rule.role {
        Role::Gate => 0,
        Role::Observe => 1,
        Role::Exact => 2,
    });
    rules
}

/// The values of one turn of load, by public name; what has none is left out.
pub(super) fn of_turn(summary: &Summary) -> BTreeMap<&'static str, f64> {
    let rates = &summary.rates.whole;
    let median = |wanted| summary.distribution(wanted).and_then(|found| found.p50.as_ref().ok());
    let values = [
        (OUTPUT_RATE, rates.output_tokens_per_second.as_ref().ok()),
        ("prompt_tokens_per_second", rates.prompt_tokens_per_second.as_ref().ok()),
        ("ttft_ms_p50", median(&metric::TTFT_MS)),
        ("itl_ms_p50", median(&metric::ITL_MS)),
        ("e2e_ms_p50", median(&metric::E2E_MS)),
        ("tpot_ms_p50", median(&metric::TPOT_MS)),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name, *value?)))
        // Where our own process was held up, most deltas of a short turn come in one read: the median
        // gap is then 0, which says nothing about the server.
        .filter(|(_, value)| *value > 0.0)
        .collect()
}
