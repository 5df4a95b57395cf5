//! What a report derives from a finished load: each figure's inputs, gathered from the rooms that
//! have them.
//!
//! Main function: [`derived`]. The formulas are `stats`'; what was assumed for them
//! is put into words here, where it is known.

use super::conclude::counter_span;
use super::findings::Findings;
use crate::artifact::derived as wire;
use crate::artifact::{Derived, Note, Unknowns};
use crate::load::{Phase, RequestRecord};
use crate::model::{ModelWork, TensorType};
use crate::peaks::Measured;
use crate::plan::{RunPlan, ServerSpec, Target};
use crate::scrape::ScrapeSummary;
use crate::stats::{
    self, Drafts, Known, Little, Peaks, ServerRates, ServerWork, Summary, TokenCost, TokenCounts,
    TpotDifference, Traffic, Unknown, Utilization, metric,
};

/// All of it, and warnings of what cannot be: Little's law does not hold, or more than all was used.
pub(super) fn derived(
    plan: &RunPlan,
    findings: &Findings,
    summary: &Summary,
) -> (Derived, Vec<Note>) {
    let mut unknown = Unknowns::none();
    let records = &findings.records;
    let work = findings.scrape.as_ref().map(|scrape| server_work(plan, scrape));
    let work = work.unwrap_or_default();
    let little = Little::of(records, &summary.rates);
    let mut warnings: Vec<Note> = little
        .as_ref()
        .ok()
        .filter(|little| !little.holds())
        .map(disagreement)
        .into_iter()
        .collect();
    let utilization = utilization(plan, findings, summary);
    for (name, share) in [("MBU", utilization.mbu), ("MFU", utilization.mfu)] {
        warnings.extend(share.filter(|share| *share > 1.0).map(|share| more_than_all(name, share)));
    }
    let difference = plan.workload.tpot_difference.map(|step| {
        let found = TpotDifference::of(records, plan.workload.request.max_tokens, step);
        wire::TpotDifference::new(
            &found,
            distribution(summary, &metric::TPOT_MS, |d| d.p50.clone()),
        )
    });
    let derived = Derived {
        server_rates: wire::ServerRates::from(&server_rates(records, summary, &work)),
        littles_law: unknown.take("littles_law", little).as_ref().map(wire::LittlesLaw::from),
        utilization,
        drafts: unknown.take("drafts", Drafts::of(records, &work)).as_ref().map(wire::Drafts::from),
        tpot_difference: unknown.option(
            "tpot_difference",
            difference,
            "every prompt was asked at one length only; see --tpot-difference",
        ),
        unknown,
    };
    (derived, warnings)
}

fn more_than_all(name: &str, share: f64) -> Note {
    let message = format!(
        "{name} is {:.0} % of the peak: either the peak is too low, or caches hold what the formula reads from memory",
        share * 100.0
    );
    Note { code: "utilization".to_owned(), message }
}

fn disagreement(little: &Little) -> Note {
    let message = format!(
        "Little's law: {:.2} requests were in flight on average, but {:.2} completed a second × {:.1} ms are {:.2}; \
         the difference of {:.1} % is more than {:.1} %, so requests that did not complete, or a load that did not \
         stand still, are in the one and not in the other",
        little.in_flight_mean,
        little.completed_per_second,
        little.e2e_ms_mean,
        little.in_flight_mean - little.residual,
        little.residual_ratio * 100.0,
        little.tolerance_ratio * 100.0
    );
    Note { code: "littles_law".to_owned(), message }
}

/// The counters as `scrape` knows them; those of drafts have vLLM's names.
fn server_work(plan: &RunPlan, scrape: &ScrapeSummary) -> ServerWork {
    let found = scrape.throughput();
    // One series for each engine and position: their sum.
    let sum = |name: &str| {
        let deltas: Vec<f64> = scrape
            .series
            .iter()
            .filter(|(series, _)| {
                series
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
            })
            .filter_map(|(_, series)| series.delta)
            .collect();
        (!deltas.is_empty()).then(|| deltas.iter().sum::<f64>())
    };
    ServerWork {
        span: counter_span(plan),
        prompt_tokens: found.prompt_tokens,
        prompt_s: found.prompt_s,
        output_tokens: found.output_tokens,
        output_s: found.output_s,
        drafted: sum("vllm:spec_decode_num_draft_tokens_total")
            .zip(sum("vllm:spec_decode_num_accepted_tokens_total")),
    }
}

fn distribution(
    summary: &Summary,
    wanted: &stats::Metric,
    figure: impl Fn(&stats::Distribution) -> Known<f64>,
) -> Known<f64> {
    let found = summary.metrics.iter().find(|(metric, _)| **metric == *wanted);
    found.map_or_else(|| Err(Unknown::because("not recorded")), |(_, found)| figure(found))
}

fn completed(records: &[RequestRecord]) -> impl Iterator<Item = &RequestRecord> {
    records.iter().filter(|record| record.phase == Phase::Measured && record.is_completed())
}

/// A sum over completed requests, unless one of them did not say.
fn sum(records: &[RequestRecord], tokens: impl Fn(&RequestRecord) -> Option<u64>) -> Known<f64> {
    let mut sum = 0.0;
    for record in completed(records) {
        let count = tokens(record).ok_or_else(|| {
            Unknown::because("a completed request came without the counts of tokens for it")
        })?;
        sum += count as f64;
    }
    Ok(sum)
}

fn output_tokens(record: &RequestRecord) -> Option<u64> {
    Some(TokenCounts::of(record)?.completion)
}

/// Prompt tokens that the server really read.
fn evaluated_tokens(record: &RequestRecord) -> Option<u64> {
    let counts = TokenCounts::of(record)?;
    let told = record.timings.and_then(|timings| timings.prompt_n);
    told.or_else(|| counts.prompt?.checked_sub(counts.cached?))
}

fn window_s(summary: &Summary) -> Known<f64> {
    summary.rates.window.as_ref().map(stats::Window::seconds).map_err(Clone::clone)
}

fn server_rates(records: &[RequestRecord], summary: &Summary, work: &ServerWork) -> ServerRates {
    let (output, prompt) = (sum(records, output_tokens), sum(records, evaluated_tokens));
    ServerRates::of(work, &window_s(summary), &output, &prompt)
}

fn utilization(plan: &RunPlan, findings: &Findings, summary: &Summary) -> wire::Utilization {
    let records = &findings.records;
    let count = completed(records).count() as f64;
    let mean = |sum: Known<f64>| match sum {
        Ok(sum) if count > 0.0 => Ok(sum / count),
        Ok(_) => Err(Unknown::because("no measured request completed")),
        Err(reason) => Err(reason),
    };
    let traffic = Traffic {
        tpot_ms: distribution(summary, &metric::TPOT_MS, |found| found.mean.clone()),
        output_tokens_per_second: summary.rates.whole.output_tokens_per_second.clone(),
        prompt_tokens_per_second: sum(records, evaluated_tokens)
            .and_then(|tokens| Ok(tokens / window_s(summary)?)),
        prompt_tokens_mean: mean(sum(records, |record| TokenCounts::of(record)?.prompt)),
        completion_tokens_mean: mean(sum(records, output_tokens)),
    };
    let mut assumptions = Vec::new();
    let cost = token_cost(plan, findings, &mut assumptions);
    let peaks = peaks(plan, findings, &mut assumptions);
    wire::Utilization::new(&Utilization::of(&cost, &traffic, &peaks), &peaks, assumptions)
}

fn token_cost(
    plan: &RunPlan,
    findings: &Findings,
    assumptions: &mut Vec<String>,
) -> Known<TokenCost> {
    let because = |reason: &'static str| Err(Unknown::because(reason));
    let spec = match &plan.target {
        Target::External { .. } => return because("the model of a running server is not known"),
        Target::Start(spec) if spec.program == crate::plan::ServerProgram::Sim => {
            return because("the simulator reads no weights and multiplies nothing");
        }
        Target::Start(spec) => spec,
    };
    let Some(model) = &findings.model else {
        return because("bench-ci does not know which model the server has loaded");
    };
    let Some(work) = model.file.gguf.as_ref().and_then(|gguf| gguf.work.as_ref()) else {
        return because("the shape of the model's tensors is not known to this build");
    };
    assumptions
        .push("each step reads all weights once from memory, whatever caches hold".to_owned());
    assumptions.push("a token of the context costs the same in every layer".to_owned());
    if let Some((used, count)) = work.experts {
        assumptions.push(format!(
            "each token uses {used} of {count} experts, chosen independently of those of other tokens"
        ));
    }
    let kv_bytes = kv_bytes_per_token(work, spec, assumptions);
    if let Ok(attention) = &work.attention
        && let Some(tokens) = attention.sliding_window
    {
        assumptions.push(format!(
            "all layers see the whole context, although some of this model see {tokens} tokens back: an upper bound"
        ));
    }
    Ok(TokenCost {
        dense_bytes: work.dense_bytes as f64,
        dense_parameters: work.dense_parameters as f64,
        expert_bytes: work.expert_bytes as f64,
        expert_parameters: work.expert_parameters as f64,
        expert_share: work.experts.map_or(1.0, |(used, count)| used as f64 / count as f64),
        kv_bytes_per_token: kv_bytes,
        attention_flops_per_token: work
            .attention
            .map(|attention| attention.flops_per_context_token() as f64)
            .map_err(Unknown::because),
    })
}

/// Keys and values in the number format that the server was told, F16 by default.
fn kv_bytes_per_token(
    work: &ModelWork,
    spec: &ServerSpec,
    assumptions: &mut Vec<String>,
) -> Known<f64> {
    let attention = work.attention.map_err(Unknown::because)?;
    let mut bytes = |flags: [&str; 2], what: &str| {
        let name = argument(&spec.extra_args, flags).unwrap_or("f16");
        let size = TensorType::named(name).and_then(|kind| kind.size_bytes(256));
        let size = size.ok_or_else(|| {
            Unknown::because(format!("the size of the cache type \"{name}\" is not known"))
        })?;
        assumptions.push(format!("{what} are kept as {}", name.to_ascii_uppercase()));
        Ok(size as f64 / 256.0)
    };
    let keys = bytes(["-ctk", "--cache-type-k"], "keys")?;
    let values = bytes(["-ctv", "--cache-type-v"], "values")?;
    let numbers = (attention.layers * attention.kv_heads) as f64;
    Ok(numbers * (attention.key_length as f64 * keys + attention.value_length as f64 * values))
}

/// The last value of a flag among llama-server's own arguments.
fn argument<'a>(arguments: &'a [String], flags: [&str; 2]) -> Option<&'a str> {
    let place = arguments.iter().rposition(|argument| {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        flags.contains(&name)
    })?;
    match arguments[place].split_once('=') {
        Some((_, value)) => Some(value),
        None => arguments.get(place + 1).map(String::as_str),
    }
}

fn peaks(plan: &RunPlan, findings: &Findings, assumptions: &mut Vec<String>) -> Peaks {
    let on_gpu = may_be_on_a_gpu(plan, findings);
    let mut peak = |given: Option<f64>, measured: Option<&Measured>, what: &str, flag: &str| match (
        given, measured,
    ) {
        (Some(given), _) => {
            assumptions.push(format!("the peak {what} is that of {flag}"));
            Ok(given)
        }
        (None, Some(_)) if on_gpu => Err(Unknown::because(format!(
            "the model may lie on a GPU, whose peak is not measured; give it with {flag}"
        ))),
        (None, Some(measured)) => {
            assumptions.push(format!("the peak {what} was measured: {}", measured.how));
            Ok(measured.per_second)
        }
        (None, None) => Err(Unknown::because(format!(
            "no peak is known; give it with {flag}, or pass --measure-peaks"
        ))),
    };
    Peaks {
        bandwidth: peak(
            plan.peaks.bandwidth.map(|peak| peak.0),
            findings.peaks.bandwidth.as_ref(),
            "bandwidth",
            "--peak-bandwidth",
        ),
        flops: peak(
            plan.peaks.flops.map(|peak| peak.0),
            findings.peaks.flops.as_ref(),
            "arithmetic",
            "--peak-flops",
        ),
    }
}

/// llama-server takes a GPU by itself where its build can; only 0 layers keep it away.
fn may_be_on_a_gpu(plan: &RunPlan, findings: &Findings) -> bool {
    let refused = match &plan.target {
        Target::Start(spec) => spec.n_gpu_layers.as_deref() == Some("0"),
        Target::External { .. } => false,
    };
    !refused && !findings.provenance.machine.gpus.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_equal_flags_counts() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let flags = ["-ctk", "--cache-type-k"];
        let line = words("-ctk q8_0 --metrics --cache-type-k=q4_0");
        assert_eq!(argument(&line, flags), Some("q4_0"));
        assert_eq!(argument(&words("--metrics -ctk"), flags), None);
        assert_eq!(argument(&words("--metrics"), flags), None);
    }
}
