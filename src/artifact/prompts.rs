//! The prompts of a run, as the report has them.
//!
//! Main type: [`Prompts`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknowns::Unknowns;

/// Where the prompts came from, how many there are, and how long they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prompts {
    /// Kind of the dataset: `builtin`, `sharegpt` (the public file), `json`, `jsonl`, `parquet`, `csv`,
    /// `text`, `synthetic` or `trace`.
    pub kind: String,
    /// SHA-256 of the dataset's file.
    pub file_sha256: Option<String>,
    /// SHA-256 over the kept prompts: equal where the same prompts were sent in the same order.
    pub sha256: String,
    /// Records read from the dataset.
    pub seen: u64,
    /// Prompts that passed the filter.
    pub kept: u64,
    /// Kept ones whose content an earlier one has already.
    pub repeated: u64,
    /// Kept ones that were left out because they do not fit the server's context.
    pub not_fitting: u64,
    /// Prompts that the requests take in turn.
    pub used: u64,
    /// Length of the used ones in words as the filter counts them; of token ids, in tokens.
    pub length: LengthSpread,
    /// Length in tokens that was asked for, of synthetic prompts and of traces without texts.
    pub asked_tokens: Option<LengthSpread>,
    /// Length in tokens that these were made to, as the server counts, template included.
    pub made_tokens: Option<LengthSpread>,
    /// Largest difference of a prompt between the two, in tokens.
    pub largest_deviation_tokens: Option<u64>,
    /// How they were made: `token_ids` (exact), `server_tokenizer` (counted by the server) or
    /// `approximate` (words for tokens, since the server has no tokenizer to ask).
    pub made_by: Option<String>,
    /// Budgets that prompts bring along, in tokens.
    pub answer_tokens: Option<LengthSpread>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Least, mean and most of some lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LengthSpread {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}
