//! How much of what a machine could do the server did: MBU and MFU.
//!
//! Main type: [`Utilization`]. Model bandwidth utilization is the memory traffic that the answers
//! need at the least over the peak; model FLOPS utilization the same of arithmetic. Both count what
//! the model needs, not what the server did, so caches, recomputation and padding lower them.
//! Sources: Chowdhery et al., "PaLM" (2022), appendix B (MFU); Databricks, "LLM Inference Performance
//! Engineering" (2023) (MBU).

use super::{Known, Unknown};

/// What the model needs for a token, from its file.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenCost {
    /// Bytes of weights that a step reads whatever is in its batch.
    pub dense_bytes: f64,
    /// Weights that a token is multiplied with, experts aside.
    pub dense_parameters: f64,
    /// Bytes of all experts together; 0 without.
    pub expert_bytes: f64,
    /// Weights of all experts together; 0 without.
    pub expert_parameters: f64,
    /// Share of the experts that one token uses; 1 without.
    pub expert_share: f64,
    /// Bytes of keys and values for a token of context.
    pub kv_bytes_per_token: Known<f64>,
    /// Floating point operations for a token of context.
    pub attention_flops_per_token: Known<f64>,
}

/// What the load was, as far as the formulas need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Mean TPOT: the time of one step of decoding.
    pub tpot_ms: Known<f64>,
    /// Generated tokens per second.
    pub output_tokens_per_second: Known<f64>,
    /// Evaluated prompt tokens per second.
    pub prompt_tokens_per_second: Known<f64>,
    /// Mean length of prompts, in tokens, cached ones included.
    pub prompt_tokens_mean: Known<f64>,
    /// Mean length of answers, in tokens.
    pub completion_tokens_mean: Known<f64>,
}

/// Peaks of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Peaks {
    /// Bytes per second.
    pub bandwidth: Known<f64>,
    /// Floating point operations per second.
    pub flops: Known<f64>,
}

/// Shares of the peaks, and what they were made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Utilization {
    /// Mean number of answers written at once: output tokens per second × TPOT (Little's law).
    pub decoding_mean: Known<f64>,
    /// Bytes of weights that a step of decoding reads.
    pub weight_bytes_per_step: Known<f64>,
    /// Bytes of keys and values that a step reads, over all answers that are written at once.
    pub kv_bytes_per_step: Known<f64>,
    /// (weights + keys and values) / TPOT.
    pub bytes_per_second: Known<f64>,
    /// That over the peak.
    pub mbu: Known<f64>,
    /// Floating point operations for a generated token, at the mean context.
    pub flops_per_output_token: Known<f64>,
    /// Floating point operations for all generated and evaluated tokens of a second.
    pub flops_per_second: Known<f64>,
    /// That over the peak.
    pub mfu: Known<f64>,
}

impl Utilization {
    /// By the formulas of METHODOLOGY.md.
    #[must_use]
    pub fn of(cost: &Known<TokenCost>, traffic: &Traffic, peaks: &Peaks) -> Self {
        let decoding_mean = both(&traffic.output_tokens_per_second, &traffic.tpot_ms)
            .map(|(rate, tpot_ms)| rate * tpot_ms / 1e3);
        // Halfway through its answer a request has its prompt and half of the answer behind it.
        let lengths = both(&traffic.prompt_tokens_mean, &traffic.completion_tokens_mean);
        let context = lengths.clone().map(|(prompt, answer)| prompt + answer / 2.0);
        let weight_bytes_per_step = cost.clone().and_then(|cost| {
            if cost.expert_bytes <= 0.0 {
                return Ok(cost.dense_bytes);
            }
            // Each of the answers chooses its experts as if it knew nothing of the others.
            let answers = decoding_mean.clone()?.max(1.0);
            let touched = 1.0 - (1.0 - cost.expert_share).powf(answers);
            Ok(cost.dense_bytes + cost.expert_bytes * touched)
        });
        let kv_bytes_per_step = cost.clone().and_then(|cost| {
            Ok(cost.kv_bytes_per_token? * context.clone()? * decoding_mean.clone()?)
        });
        let bytes_per_second =
            both(&weight_bytes_per_step, &kv_bytes_per_step).and_then(|(weights, kv)| {
                let tpot_ms = traffic.tpot_ms.clone()?;
                if tpot_ms > 0.0 {
                    Ok((weights + kv) / (tpot_ms / 1e3))
                } else {
                    Err(Unknown::because("the time per output token is 0"))
                }
            });
        let flops_of_weights = cost
            .clone()
            .map(|cost| 2.0 * (cost.dense_parameters + cost.expert_parameters * cost.expert_share));
        let attention = cost.clone().and_then(|cost| cost.attention_flops_per_token);
        let flops_per_output_token = both(&flops_of_weights, &attention)
            .and_then(|(weights, attention)| Ok(weights + attention * context.clone()?));
        let flops_per_second =
            both(&flops_of_weights, &attention).and_then(|(weights, attention)| {
                // A token of a prompt sees half of it on average.
                let per_prompt_token = weights + attention * (lengths.clone()?.0 / 2.0);
                Ok(traffic.output_tokens_per_second.clone()? * flops_per_output_token.clone()?
                    + traffic.prompt_tokens_per_second.clone()? * per_prompt_token)
            });
        Self {
            mbu: both(&bytes_per_second, &peaks.bandwidth).map(|(used, peak)| used / peak),
            mfu: both(&flops_per_second, &peaks.flops).map(|(used, peak)| used / peak),
            decoding_mean,
            weight_bytes_per_step,
            kv_bytes_per_step,
            bytes_per_second,
            flops_per_output_token,
            flops_per_second,
        }
    }
}

/// Two numbers, or why the first of them that is not known is not.
fn both(left: &Known<f64>, right: &Known<f64>) -> Known<(f64, f64)> {
    Ok((left.clone()?, right.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: &Known<f64>, right: f64) {
        let left = *left.as_ref().expect("known");
        assert!((left - right).abs() <= 1e-9 * right.abs(), "{left} is not {right}");
    }

    fn cost() -> TokenCost {
        TokenCost {
            dense_bytes: 1e9,
            dense_parameters: 2e9,
            expert_bytes: 0.0,
            expert_parameters: 0.0,
            expert_share: 1.0,
            kv_bytes_per_token: Ok(1e5),
            attention_flops_per_token: Ok(4e5),
        }
    }

    fn traffic() -> Traffic {
        Traffic {
            tpot_ms: Ok(50.0),
            output_tokens_per_second: Ok(80.0),
            prompt_tokens_per_second: Ok(200.0),
            prompt_tokens_mean: Ok(100.0),
            completion_tokens_mean: Ok(40.0),
        }
    }

    fn peaks() -> Peaks {
        Peaks { bandwidth: Ok(50e9), flops: Ok(10e12) }
    }

    #[test]
    fn by_hand() {
        let found = Utilization::of(&Ok(cost()), &traffic(), &peaks());
        close(&found.decoding_mean, 4.0); // 80/s × 50 ms
        close(&found.kv_bytes_per_step, 1e5 * 120.0 * 4.0);
        close(&found.bytes_per_second, (1e9 + 4.8e7) / 0.05);
        close(&found.mbu, 20.96e9 / 50e9);
        close(&found.flops_per_output_token, 4e9 + 4e5 * 120.0);
        close(&found.flops_per_second, 80.0 * 4.048e9 + 200.0 * (4e9 + 4e5 * 50.0));
        close(&found.mfu, (80.0 * 4.048e9 + 200.0 * 4.02e9) / 10e12);
    }

    #[test]
    fn experts_are_read_as_far_as_a_batch_touches_them() {
        let experts =
            TokenCost { expert_bytes: 8e9, expert_parameters: 16e9, expert_share: 0.25, ..cost() };
        let found = Utilization::of(&Ok(experts), &traffic(), &peaks());
        close(&found.weight_bytes_per_step, 1e9 + 8e9 * (1.0 - 0.75_f64.powi(4)));
        close(&found.flops_per_output_token, 2.0 * (2e9 + 4e9) + 4e5 * 120.0);
    }

    #[test]
    fn an_unknown_peak_leaves_the_rest_known() {
        let peaks = Peaks { bandwidth: Err(Unknown::because("nobody said")), ..peaks() };
        let found = Utilization::of(&Ok(cost()), &traffic(), &peaks);
        assert_eq!(found.mbu.unwrap_err().reason(), "nobody said");
        assert!(found.bytes_per_second.is_ok() && found.mfu.is_ok());
    }

    #[test]
    fn without_a_model_there_is_a_reason_everywhere() {
        let found = Utilization::of(&Err(Unknown::because("no model")), &traffic(), &peaks());
        for figure in [&found.mbu, &found.mfu, &found.bytes_per_second, &found.flops_per_second] {
            assert_eq!(figure.as_ref().unwrap_err().reason(), "no model");
        }
        close(&found.decoding_mean, 4.0);
    }
}
