//! Which metrics are compared, and how large a change of each matters.
//!
//! Main functions: [`rules`], from the flags and the scenario; [`of_turn`], the values of one turn.

use std::collections::BTreeMap;

use crate::cli::DesignArgs;
use crate::load::{Phase, RequestRecord};
use crate::plan::problem::{Place, Problem, nearest, quoted};
use crate::plan::scenario::Gate;
use crate::stats::quantile::Percentile;
use crate::stats::{Better, HeaderSplit, Known, RequestMetrics, Summary, Unknown, metric};
use crate::verdict::power::tail_requests_needed;
use crate::verdict::{Role, Rule};

/// Generated tokens of completed requests per second of loaded time.
pub(super) const OUTPUT_RATE: &str = "output_tokens_per_second";
/// Processor time of the server's processes over the tokens that they generated.
pub(super) const SERVER_CPU: &str = "server_cpu_ms_per_output_token";
/// From spawn to healthy.
pub(super) const START: &str = "start_s";
/// Counted, not measured.
pub(super) const FAILED: &str = "failed_requests";

/// A percentile over all answers of a trial. Only shown, whatever the flags say: it rests on the few
/// slowest answers of each start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// The public name.
    pub(super) name: &'static str,
    percentile: Percentile,
    value: fn(&RequestMetrics) -> Option<f64>,
}

const fn tail(
    name: &'static str,
    percentile: Percentile,
    value: fn(&RequestMetrics) -> Option<f64>,
) -> Tail {
    Tail { name, percentile, value }
}

/// Every tail, in the order of reports.
pub(super) const TAILS: [Tail; 4] = [
    tail("ttft_ms_p95", Percentile::P95, |request| request.ttft_ms),
    tail("ttft_ms_p99", Percentile::P99, |request| request.ttft_ms),
    tail("e2e_ms_p95", Percentile::P95, |request| request.e2e_ms),
    tail("e2e_ms_p99", Percentile::P99, |request| request.e2e_ms),
];

impl Tail {
    /// Of completed measured requests; unknown where they are too few.
    pub(super) fn of(&self, records: &[RequestRecord]) -> Known<f64> {
        let mut values: Vec<f64> = records
            .iter()
            .filter(|record| record.phase == Phase::Measured)
            // No tail asks what the headers mark.
            .map(|record| RequestMetrics::of(record, &HeaderSplit::Marked))
            .filter_map(|request| (self.value)(&request))
            .collect();
        let q_percent = (100.0 * self.percentile.fraction()).round() as u64;
        let needed = tail_requests_needed(q_percent);
        if (values.len() as u64) < needed {
            return Err(Unknown::because(format!(
                "p{q_percent} of a trial takes {needed} answers, this one has {}",
                values.len()
            )));
        }
        values.sort_by(f64::total_cmp);
        self.percentile.of_sorted(&values)
    }
}

/// What an answer of one token does not have.
const BETWEEN_TOKENS: [&str; 2] = ["itl_ms_p50", "tpot_ms_p50"];

/// Everything that is compared, in the order of reports: name, unit, direction, role unless a bar
/// makes it a gate.
const COMPARED: [(&str, &str, Better, Role); 13] = [
    (OUTPUT_RATE, "tokens/s", Better::Higher, Role::Gate),
    ("ttft_ms_p50", "ms", Better::Lower, Role::Gate),
    ("itl_ms_p50", "ms", Better::Lower, Role::Gate),
    ("e2e_ms_p50", "ms", Better::Lower, Role::Observe),
    ("tpot_ms_p50", "ms", Better::Lower, Role::Observe),
    (TAILS[0].name, "ms", Better::Lower, Role::Observe),
    (TAILS[1].name, "ms", Better::Lower, Role::Observe),
    (TAILS[2].name, "ms", Better::Lower, Role::Observe),
    (TAILS[3].name, "ms", Better::Lower, Role::Observe),
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
        .filter(move |(name, ..)| !of_a_pair.contains(name) && !is_tail(name))
        .map(|(name, _, better, _)| (*name, *better))
}

fn is_tail(name: &str) -> bool {
    TAILS.iter().any(|tail| tail.name == name)
}

/// The rules of a session: gates first, the rest in the order of reports.
///
/// The flags stand over the scenario. A metric with a bar of its own gates, and so does a `[[gate]]` of the
/// scenario without one; what has no bar or floor of its own has those that a gate has by default.
pub(super) fn rules(args: &DesignArgs, gates: &[Gate], problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = COMPARED
        .iter()
        .map(|(name, unit, better, role)| {
            let mut rule = by_default(name, unit, *better, *role, args.delta);
            if *role != Role::Gate {
                rule.floor = 0.0;
            }
            rule
        })
        .collect();
    let mut set =
        |place: Place, name: &str, decides: bool, bar: Option<f64>, floor: Option<f64>| {
            let found = rules.iter_mut().find(|rule| {
                // `ttft_ms=3%` means its median, which is what is compared.
                rule.role != Role::Exact
                    && (rule.metric == name || rule.metric.strip_suffix("_p50") == Some(name))
            });
            if is_tail(name) {
                let said = format!("\"{name}\" is only shown, it never decides");
                let hint = "choose another metric, such as ttft_ms_p50";
                problems.push(Problem::new(place, said).hinting(hint));
                return;
            }
            let Some(rule) = found else {
                let known: Vec<&str> =
                    names().filter(|known| *known != FAILED && !is_tail(known)).collect();
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
            if decides && rule.role != Role::Gate {
                *rule = by_default(&rule.metric, &rule.unit, rule.better, Role::Gate, args.delta);
            }
            if let Some(bar) = bar {
                rule.bar = bar;
            }
            if let Some(floor) = floor {
                rule.floor = floor;
            }
        };
    for gate in gates {
        set(gate.place, &gate.metric, true, gate.bar, gate.floor);
    }
    for typed in &args.bars {
        set(Place::Flag("--bar"), &typed.metric, true, Some(typed.bar), None);
    }
    for typed in &args.floors {
        set(Place::Flag("--floor"), &typed.metric, false, None, Some(typed.floor));
    }
    gates_first(&mut rules);
    rules
}

/// With the defaults, and `--delta` over the bar.
fn by_default(name: &str, unit: &str, better: Better, role: Role, delta: Option<f64>) -> Rule {
    let mut rule = Rule::by_default(name, unit, better, role);
    rule.bar = delta.unwrap_or(rule.bar);
    if name == SERVER_CPU {
        // In ms, and no latency that anybody could notice.
        rule.floor = 0.0;
    }
    rule
}

/// In the order of reports.
pub(super) fn gates_first(rules: &mut [Rule]) {
    rules.sort_by_key(|rule| match rule.role {
        Role::Gate => 0,
        Role::Observe => 1,
        Role::Exact => 2,
    });
}

/// Answers of one token have no gaps, so what is measured between tokens cannot gate. Says so for each
/// metric that would have.
pub(super) fn let_go_of_gaps(rules: &mut [Rule], longest_answer: u32) -> Vec<String> {
    let mut said = Vec::new();
    for rule in rules.iter_mut().filter(|rule| rule.role == Role::Gate) {
        if longest_answer <= 1 && BETWEEN_TOKENS.contains(&rule.metric.as_str()) {
            rule.role = Role::Observe;
            said.push(format!(
                "{} decides nothing: an answer of one token has no gaps; ask for more with --max-tokens",
                rule.metric
            ));
        }
    }
    gates_first(rules);
    said
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture;

    #[test]
    fn what_lies_between_tokens_gates_only_where_there_are_two() {
        let usual = || -> Vec<Rule> {
            COMPARED
                .iter()
                .map(|(name, unit, better, role)| Rule::by_default(name, unit, *better, *role))
                .collect()
        };
        let gates = |rules: &[Rule]| -> Vec<String> {
            let gates = rules.iter().filter(|rule| rule.role == Role::Gate);
            gates.map(|rule| rule.metric.clone()).collect()
        };
        let mut rules = usual();
        assert_eq!(let_go_of_gaps(&mut rules, 2), [""; 0]);
        assert_eq!(gates(&rules), [OUTPUT_RATE, "ttft_ms_p50", "itl_ms_p50"]);
        let said = let_go_of_gaps(&mut rules, 1);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("itl_ms_p50 decides nothing"), "{said:?}");
        assert_eq!(gates(&rules), [OUTPUT_RATE, "ttft_ms_p50"]);
        assert!(rules.is_sorted_by_key(|rule| rule.role != Role::Gate), "gates come first");
    }

    #[test]
    fn a_tail_takes_enough_answers_and_else_says_how_many() {
        // Time to first token 23 ms, end to end 128 ms; every twentieth answer takes 100 ms more.
        let records = |count: u64| -> Vec<RequestRecord> {
            (0..count)
                .map(|index| {
                    let mut record = fixture::completed(index);
                    if index % 20 == 0 {
                        record.first_content = Some(fixture::at_ms(125.0));
                    }
                    record
                })
                .collect()
        };
        let [ttft_p95, ttft_p99, e2e_p95, _] = TAILS;
        let few = ttft_p95.of(&records(399)).expect_err("399 are too few");
        assert_eq!(few.reason(), "p95 of a trial takes 400 answers, this one has 399");
        let mut enough = records(400);
        let found = e2e_p95.of(&enough).expect("400 are enough");
        assert!((found - 128.0).abs() < 1e-6, "{found}");
        assert!(ttft_p99.of(&enough).is_err());
        let found = ttft_p99.of(&records(2000)).expect("2,000 are enough");
        assert!((found - 123.0).abs() < 1e-6, "{found}");
        // What was sent to warm up is no answer that counts.
        enough[0].phase = Phase::WarmUp;
        assert!(ttft_p95.of(&enough).is_err());
    }
}
