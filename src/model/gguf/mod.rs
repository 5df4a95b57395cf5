//! What a GGUF file says about itself: header, keys and tensors, never the weights.
//!
//! Main types: [`GgufFile`], one file as read, and [`GgufSummary`], what a report keeps of a model
//! (of a split one: of all parts together). The file is taken for hostile: every count and length
//! is checked against what is left of the file before it is believed, nothing is allocated by a
//! number in it, and a tensor that would lie past the end makes the file truncated.
//! It does not decode weights and it does not write; see [`super::synthetic`].

mod error;
mod inspect;
mod reader;
mod types;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

pub use error::GgufError;
pub(crate) use inspect::{bytes_in_words, inspect_parts};
pub use types::{TensorType, file_type_name};
pub use work::{Attention, ModelWork};

/// A key's value, as far as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any of the unsigned integers.
    Unsigned(u64),
    /// Any of the signed integers.
    Signed(i64),
    /// A 32-bit float.
    Float(f32),
    /// A 64-bit float.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// A text; of a long one, its beginning.
    Text(String),
    /// An array, of which only the shape is kept.
    Array {
        /// What it holds, such as `text`.
        of: &'static str,
        /// How many.
        count: u64,
    },
}

/// A tensor's place and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Such as `blk.0.attn_q.weight`.
    pub name: String,
    /// One to four numbers, the row's length first.
    pub dimensions: Vec<u64>,
    /// How its weights are stored.
    pub kind: TensorType,
    /// Where its bytes begin, from the start of the tensor data.
    pub offset_bytes: u64,
    /// Product of the dimensions.
    pub weight_count: u64,
}

/// One GGUF file, read up to its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufFile {
    /// 2 or 3.
    pub version: u32,
    /// Keys and values in the file's order.
    pub keys: Vec<(String, Value)>,
    /// Tensors in the file's order.
    pub tensors: Vec<Tensor>,
    /// Where the tensor data begins, in bytes from the start of the file.
    pub data_start_bytes: u64,
    /// The file's size.
    pub length_bytes: u64,
}

impl GgufFile {
    /// Reads header, keys and tensor table, and checks that every tensor lies inside the file.
    ///
    /// # Errors
    ///
    /// [`GgufError`] says what is wrong; a missing file is [`GgufError::Io`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = std::fs::File::open(path)?;
        let length_bytes = file.metadata()?.len();
        reader::read(file, length_bytes)
    }

    /// A key's value; `None` if the key is absent.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A key's value as a text; `None` if absent or something else.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A key's value as a count; `None` if absent, negative or something else.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// What a report keeps of a model's GGUF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GgufSummary {
    /// GGUF version, 2 or 3.
    pub version: u32,
    /// `general.architecture`, such as `llama`; `None` if the file does not say.
    pub architecture: Option<String>,
    /// `general.name`; `None` if the file does not say.
    pub name: Option<String>,
    /// Weights in all tensors of all parts.
    pub parameters: u64,
    /// Such as `Q4_K_M`: from `general.file_type`, else the tensor type that holds most weights.
    pub quantization: String,
    /// `general.file_type`; `None` if the file does not say.
    pub file_type: Option<u64>,
    /// Tokens of context that the model was made for; `None` if the file does not say.
    pub context_length: Option<u64>,
    /// Layers; `None` if the file does not say.
    pub block_count: Option<u64>,
    /// Width; `None` if the file does not say.
    pub embedding_length: Option<u64>,
    /// Width of the feed-forward part; `None` if the file does not say or it differs by layer.
    pub feed_forward_length: Option<u64>,
    /// Attention heads; `None` if the file does not say or it differs by layer.
    pub head_count: Option<u64>,
    /// Key-value heads; `None` if the file does not say or it differs by layer.
    pub head_count_kv: Option<u64>,
    /// Tokens in the vocabulary; `None` if the file has none.
    pub vocabulary_count: Option<u64>,
    /// Whether the file brings a chat template.
    pub has_chat_template: bool,
    /// Tensors in all parts.
    pub tensor_count: u64,
    /// Files.
    pub part_count: u64,
    /// What a token costs by the shape of the tensors; `None` where that cannot be told.
    pub work: Option<ModelWork>,
}

impl GgufSummary {
    /// Of a model's files, the first part first.
    ///
    /// `None` if there is no part.
    #[must_use]
    pub fn of(parts: &[GgufFile]) -> Option<Self> {
        let first = parts.first()?;
        let architecture = first.text("general.architecture").map(str::to_owned);
        let keyed = |suffix: &str| {
            let architecture = architecture.as_deref()?;
            first.count(&format!("{architecture}.{suffix}"))
        };
        let tensors = || parts.iter().flat_map(|part| &part.tensors);
        let file_type = first.count("general.file_type");
        Some(Self {
            version: first.version,
            name: first.text("general.name").map(str::to_owned),
            parameters: tensors().fold(0u64, |sum, tensor| sum.saturating_add(tensor.weight_count)),
            quantization: file_type
                .and_then(file_type_name)
                .map(str::to_owned)
                .or_else(|| dominating(&weights_by_type(tensors())))
                .unwrap_or_else(|| "none".to_owned()),
            file_type,
            context_length: keyed("context_length"),
            block_count: keyed("block_count"),
            embedding_length: keyed("embedding_length"),
            feed_forward_length: keyed("feed_forward_length"),
            head_count: keyed("attention.head_count"),
            head_count_kv: keyed("attention.head_count_kv"),
            vocabulary_count: match first.value("tokenizer.ggml.tokens") {
                Some(Value::Array { count, .. }) => Some(*count),
                _ => keyed("vocab_size"),
            },
            has_chat_template: first.text("tokenizer.chat_template").is_some(),
            tensor_count: parts.iter().map(|part| part.tensors.len() as u64).sum(),
            part_count: parts.len() as u64,
            work: ModelWork::of(parts),
            architecture,
        })
    }
}

/// Weights by tensor type.
fn weights_by_type<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> BTreeMap<TensorType, u64> {
    let mut weights = BTreeMap::new();
    for tensor in tensors {
        let sum: &mut u64 = weights.entry(tensor.kind).or_default();
        *sum = sum.saturating_add(tensor.weight_count);
    }
    weights
}

fn dominating(weights: &BTreeMap<TensorType, u64>) -> Option<String> {
    weights.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| kind.name())
}

#[cfg(test)]
mod tests;
