//! What was looked at besides the numbers: whether a session was fair to both sides.
//!
//! Main function: [`checks`]. Each says what it saw; what is not known is not fine.

use super::assemble::{Parts, crashes};
use super::session;
use super::state::State;
use crate::artifact::Check;
use crate::verdict::{Judgement, Role, Side, Work};

/// A server that is not loaded uses less than this share of one processor.
const IDLE_SHARE: f64 = 0.05;

/// Turns before which the other server was not silent yet: the value of a block is an estimate that so few
/// of its turns do not move.
const RESTLESS_SHARE: f64 = 0.05;

/// Our own client sends late by less than this share of the time that answers take, as in `run`: a
/// client that lowers the rates by more cannot judge a change of a few per cent.
const LATE_SHARE: f64 = 0.01;

/// All checks, in the order of the report.
pub(super) fn checks(parts: &Parts<'_>, judged: &Judgement) -> Vec<Check> {
    let state = parts.state;
    let evidence = session::evidence(state, parts.failures_allowed);
    let check = |name: &str, ok: bool, detail: String| Check { name: name.to_owned(), ok, detail };
    let (base, head) = (evidence.base, evidence.head);
    let trials = || state.pairs.iter().flat_map(|record| &record.trials);
    let spoilt = state.pairs.iter().filter(|record| record.spoilt.is_some()).count();
    let unsettled = trials().filter(|trial| !trial.warmup.settled).count();
    let cold = [Side::Base, Side::Head].map(|side| state.failed_in_warm_up(side));
    let within = state
        .sizing
        .as_ref()
        .map_or_else(String::new, |sizing| format!(" within {} waves", sizing.warm_up_waves));
    let mut checks = vec![
        check(
            "failed_requests",
            base.failed.max(head.failed) <= parts.failures_allowed,
            format!(
                "base {} of {}, head {} of {}",
                base.failed, base.requests, head.failed, head.requests
            ),
        ),
        equal_work(&base, &head),
        check(
            "servers_alive",
            evidence.crashed.is_empty(),
            if evidence.crashed.is_empty() {
                "none died under load".to_owned()
            } else {
                crashes(state).join("; ")
            },
        ),
        check(
            "machine_quiet",
            spoilt == 0,
            format!("{spoilt} of {} pairs were spoilt by the machine", state.pairs.len()),
        ),
        idle_neighbour(state, state.sizing.as_ref().map_or(parts.restart, |sizing| sizing.restart)),
        check(
            "warmed_up",
            unsettled == 0 && cold == [0, 0],
            format!(
                "{unsettled} of {} warm-ups did not settle{within}; requests that failed in them: base {}, head {}",
                trials().count(),
                cold[0],
                cold[1]
            ),
        ),
        client_kept_up(trials().filter_map(|trial| trial.client_late_ratio)),
    ];
    let worst = judged
        .comparisons
        .iter()
        .filter(|comparison| comparison.rule.role == Role::Gate)
        .filter_map(|comparison| {
            let effect = comparison.position_effect_pct()?;
            Some((effect, comparison.rule.bar, &comparison.rule.metric))
        })
        .max_by(|one, other| one.0.abs().total_cmp(&other.0.abs()));
    if let Some((effect, bar, metric)) = worst {
        checks.push(check(
            "position_effect",
            effect.abs() <= 100.0 * bar,
            format!("the second of a pair is slower by {effect:.1} % in {metric}, at most"),
        ));
    }
    checks
}

/// Work that was not counted is not known to be equal.
fn equal_work(base: &Work, head: &Work) -> Check {
    let tokens = |work: &Work| match (work.prompt_tokens, work.output_tokens) {
        (Some(prompt), Some(output)) => format!("{prompt} prompt and {output} output tokens"),
        _ => "unknown tokens".to_owned(),
    };
    let counted = |work: &Work| work.prompt_tokens.is_some() && work.output_tokens.is_some();
    let known = counted(base) && counted(head);
    let doubt = if known { "" } else { "it is not known whether it was equal: " };
    Check {
        name: "equal_work".to_owned(),
        ok: known
            && base.requests == head.requests
            && base.prompt_tokens == head.prompt_tokens
            && base.output_tokens == head.output_tokens,
        detail: format!(
            "{doubt}base {} requests, {}; head {} requests, {}",
            base.requests,
            tokens(base),
            head.requests,
            tokens(head)
        ),
    }
}

/// A server that is not loaded leaves the machine to the other: it was silent before the other's turn, and
/// did next to nothing during it.
fn idle_neighbour(state: &State, restart: bool) -> Check {
    let trials = || state.pairs.iter().flat_map(|record| &record.trials);
    let turns: u64 = trials().map(|trial| trial.slices).sum();
    let restless: u64 = state.pairs.iter().map(|record| record.restless).sum();
    let busiest = trials().filter_map(|trial| trial.idle_cpu_ratio).reduce(f64::max);
    let (ok, detail) = match busiest {
        _ if restart => (true, "one server at a time: none ran beside the other".to_owned()),
        Some(busiest) => (
            busiest <= IDLE_SHARE && restless as f64 <= RESTLESS_SHARE * turns as f64,
            format!(
                "a server used at most {:.1} % of a processor while the other was loaded, and before {restless} \
                 of {turns} turns it had not fallen silent",
                100.0 * busiest
            ),
        ),
        None => {
            (false, "it is not known: no turn was played, or the system does not say".to_owned())
        }
    };
    Check { name: "idle_neighbour".to_owned(), ok, detail }
}

/// `ratios`: of each trial, how late our client sent, as a share of the time that its answers took.
fn client_kept_up(ratios: impl Iterator<Item = f64>) -> Check {
    let worst = ratios.reduce(f64::max);
    Check {
        name: "client_kept_up".to_owned(),
        ok: worst.is_some_and(|worst| worst <= LATE_SHARE),
        detail: match worst {
            Some(worst) => format!(
                "our own client sent late by at most {:.2} % of the time that a trial's answers took",
                100.0 * worst
            ),
            None => "it is not known: no request was answered".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_a_count_is_not_said_to_be_equal() {
        let counted =
            Work { requests: 4, failed: 0, prompt_tokens: Some(40), output_tokens: Some(64) };
        assert!(equal_work(&counted, &counted).ok);
        assert!(!equal_work(&counted, &Work { output_tokens: Some(63), ..counted }).ok);
        let uncounted = Work { output_tokens: None, ..counted };
        let check = equal_work(&uncounted, &uncounted);
        assert!(!check.ok);
        assert!(check.detail.starts_with("it is not known"), "{}", check.detail);
    }

    #[test]
    fn a_neighbour_is_idle_that_was_silent_before_nearly_every_turn() {
        let check = |restless: u64, idle_cpu_ratio: Option<f64>| {
            let trial = serde_json::json!({
                "pair": 0, "attempt": 0, "slot": 0, "side": "base", "folder": "", "start_s": 0.5,
                "warmup": {"waves": 3, "settled": true, "failed": 0}, "slices": 40, "requests": 80,
                "failed": 0, "tokens": {"prompt": 1, "output": 1}, "metrics": {}, "tails": null,
                "probe": {"before_ms": null, "after_ms": null}, "steal_pct": null,
                "load_average": null, "cpu_mhz": null, "idle_cpu_ratio": idle_cpu_ratio,
                "valid": true, "reason": null,
            });
            let work = serde_json::json!({
                "requests": 80, "failed": 0, "prompt_tokens": 1, "output_tokens": 1, "failures": {},
            });
            let pair = serde_json::json!({
                "pair": 0, "attempt": 0, "order": "AB", "trials": [trial], "points": {},
                "base": work, "head": work, "restless": restless, "probe_ms": null,
                "probes_by_side": null, "steal_pct": null, "crash": null, "complete": true,
                "spoilt": null, "took_s": 1.0, "loaded_s": 1.0,
            });
            let mut state = State::begin(serde_json::Value::Null, 1);
            state.pairs.push(serde_json::from_value(pair).expect("a pair as it is kept"));
            idle_neighbour(&state, false)
        };
        let fine = check(2, Some(0.01));
        assert!(fine.ok);
        assert!(
            fine.detail.ends_with("before 2 of 40 turns it had not fallen silent"),
            "{}",
            fine.detail
        );
        assert!(!check(3, Some(0.01)).ok, "more than one turn in twenty");
        assert!(!check(0, Some(0.06)).ok);
        assert!(!check(0, None).ok, "nobody knows");
        assert!(idle_neighbour(&State::begin(serde_json::Value::Null, 1), true).ok);
    }

    #[test]
    fn the_client_is_held_against_its_worst_trial() {
        assert!(client_kept_up([0.001, 0.01].into_iter()).ok);
        let check = client_kept_up([0.001, 0.012, 0.002].into_iter());
        assert!(!check.ok);
        assert!(check.detail.contains("at most 1.20 %"), "{}", check.detail);
        assert!(!client_kept_up(std::iter::empty()).ok, "nobody knows");
    }
}
