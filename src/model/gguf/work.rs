//! What a model costs to run, by the shape of its tensors: bytes to read and numbers to multiply.
//!
//! Main type: [`ModelWork`]. It counts what the file holds; how often a server reads it, and how fast
//! a machine could, is for `stats`. Nothing here knows an architecture by name.

use serde::Serialize;

use super::{GgufFile, Tensor};

/// Work for one token, as far as the tensors show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelWork {
    /// Bytes of the tensors that every token needs whole. Tables in which a token looks up one row
    /// (`token_embd`, unless it is the output matrix too) are not among them.
    pub dense_bytes: u64,
    /// Weights of those that are matrices: each is multiplied and added once for a token.
    pub dense_parameters: u64,
    /// Bytes of all experts together; 0 for a model without.
    pub expert_bytes: u64,
    /// Weights of all experts together.
    pub expert_parameters: u64,
    /// Experts that one token uses, and experts there are; `None` for a model without.
    pub experts: Option<(u64, u64)>,
    /// The shape of its attention, or why that is not known.
    pub attention: Result<Attention, &'static str>,
}

/// The shape of the attention of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Layers.
    pub layers: u64,
    /// Query heads of a layer.
    pub heads: u64,
    /// Key and value heads of a layer.
    pub kv_heads: u64,
    /// Numbers in a key of a head.
    pub key_length: u64,
    /// Numbers in a value of a head.
    pub value_length: u64,
    /// Some layers see only so many tokens back; `None` where all see the whole context.
    pub sliding_window: Option<u64>,
}

impl Attention {
    /// Numbers that the cache keeps for one token of context, over all layers.
    #[must_use]
    pub fn cached_numbers_per_token(&self) -> u64 {
        let numbers = self.key_length.saturating_add(self.value_length);
        self.layers.saturating_mul(self.kv_heads).saturating_mul(numbers)
    }

    /// Floating point operations with one token of context, over all layers: a multiplication and an
    /// addition for each number of a key and of a value, in every query head.
    #[must_use]
    pub fn flops_per_context_token(&self) -> u64 {
        let numbers = self.key_length.saturating_add(self.value_length);
        2u64.saturating_mul(self.layers).saturating_mul(self.heads).saturating_mul(numbers)
    }
}

impl ModelWork {
    /// Of a model's files. `None` if a tensor is of a type whose size this build does not know.
    pub(super) fn of(parts: &[GgufFile]) -> Option<Self> {
        let first = parts.first()?;
        let tensors = || parts.iter().flat_map(|part| &part.tensors);
        let has_output = tensors().any(|tensor| tensor.name == "output.weight");
        let mut work = Self {
            dense_bytes: 0,
            dense_parameters: 0,
            expert_bytes: 0,
            expert_parameters: 0,
            experts: None,
            attention: attention(first),
        };
        for tensor in tensors() {
            if is_lookup(tensor, has_output) {
                continue;
            }
            let bytes = tensor.kind.size_bytes(tensor.weight_count)?;
            // A vector is added or scaled by; beside the matrices that is nothing.
            let is_matrix = tensor.dimensions.iter().filter(|length| **length > 1).count() > 1;
            let parameters = if is_matrix { tensor.weight_count } else { 0 };
            let (all_bytes, all_parameters) = if tensor.name.contains("_exps.") {
                (&mut work.expert_bytes, &mut work.expert_parameters)
            } else {
                (&mut work.dense_bytes, &mut work.dense_parameters)
            };
            *all_bytes = all_bytes.saturating_add(bytes);
            *all_parameters = all_parameters.saturating_add(parameters);
        }
        if work.expert_bytes > 0 {
            let used = keyed(first, "expert_used_count")?;
            let count = keyed(first, "expert_count").filter(|count| *count > 0)?;
            work.experts = Some((used.min(count), count));
        }
        Some(work)
    }
}

/// A table in which a token looks up its row.
fn is_lookup(tensor: &Tensor, has_output: bool) -> bool {
    match tensor.name.as_str() {
        // Without an output matrix of its own the table is read whole for every token.
        "token_embd.weight" => has_output,
        "per_layer_token_embd.weight" | "position_embd.weight" | "token_types.weight" => true,
        _ => false,
    }
}

fn keyed(file: &GgufFile, suffix: &str) -> Option<u64> {
    file.count(&format!("{}.{suffix}", file.text("general.architecture")?))
}

fn attention(file: &GgufFile) -> Result<Attention, &'static str> {
    if keyed(file, "attention.kv_lora_rank").is_some() {
        return Err("the model keeps compressed keys and values, whose reading is not modelled");
    }
    let silent = "the file does not say one number of layers and attention heads for all of it";
    let count = |suffix: &str| keyed(file, suffix).filter(|count| *count > 0).ok_or(silent);
    let heads = count("attention.head_count")?;
    let width = count("embedding_length")?;
    Ok(Attention {
        layers: count("block_count")?,
        heads,
        // A key that is there and is no one number differs by layer.
        kv_heads: match has(file, "attention.head_count_kv") {
            true => count("attention.head_count_kv")?,
            false => heads,
        },
        key_length: keyed(file, "attention.key_length").unwrap_or(width / heads),
        value_length: keyed(file, "attention.value_length").unwrap_or(width / heads),
        sliding_window: keyed(file, "attention.sliding_window").filter(|tokens| *tokens > 0),
    })
}

fn has(file: &GgufFile, suffix: &str) -> bool {
    let architecture = file.text("general.architecture").unwrap_or_default();
    file.value(&format!("{architecture}.{suffix}")).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::{TensorType, Value};
    use super::*;

    fn tensor(name: &str, dimensions: &[u64], kind: TensorType) -> Tensor {
        Tensor {
            name: name.to_owned(),
            dimensions: dimensions.to_vec(),
            kind,
            offset_bytes: 0,
            weight_count: dimensions.iter().product(),
        }
    }

    fn file(keys: &[(&str, u64)], tensors: Vec<Tensor>) -> GgufFile {
        let mut all = vec![("general.architecture".to_owned(), Value::Text("llama".to_owned()))];
        all.extend(
            keys.iter().map(|(key, value)| (format!("llama.{key}"), Value::Unsigned(*value))),
        );
        GgufFile { version: 3, keys: all, tensors, data_start_bytes: 0, length_bytes: 0 }
    }

    const SHAPE: [(&str, u64); 4] = [
        ("block_count", 2),
        ("embedding_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ];

    #[test]
    fn a_table_that_is_looked_up_in_is_not_read() {
        let tensors = vec![
            tensor("token_embd.weight", &[64, 100], TensorType::F32),
            tensor("blk.0.attn_norm.weight", &[64], TensorType::F32),
            tensor("blk.0.attn_q.weight", &[64, 64], TensorType::Q8_0),
            tensor("output.weight", &[64, 100], TensorType::F16),
        ];
        let work = ModelWork::of(&[file(&SHAPE, tensors.clone())]).expect("known types");
        assert_eq!(work.dense_parameters, 64 * 64 + 6_400);
        assert_eq!(work.dense_bytes, 256 + 64 * 64 / 32 * 34 + 12_800);
        // Tied: the same table is the output matrix, and then it is read.
        let tied = ModelWork::of(&[file(&SHAPE, tensors[..3].to_vec())]).expect("known types");
        assert_eq!(tied.dense_parameters, 64 * 64 + 6_400);
        assert_eq!(tied.dense_bytes, 25_600 + 256 + 64 * 64 / 32 * 34);
    }

    #[test]
    fn attention_by_hand() {
        let work = ModelWork::of(&[file(&SHAPE, Vec::new())]).expect("nothing unknown");
        let attention = work.attention.expect("all keys are there");
        assert_eq!((attention.key_length, attention.value_length), (16, 16));
        // 2 layers × 2 heads × (16 + 16); 2 × 2 layers × 4 heads × (16 + 16).
        assert_eq!(attention.cached_numbers_per_token(), 128);
        assert_eq!(attention.flops_per_context_token(), 512);
        let silent = ModelWork::of(&[file(&SHAPE[..2], Vec::new())]).expect("nothing unknown");
        assert!(silent.attention.is_err());
        let mut keys = SHAPE.to_vec();
        keys.push(("attention.kv_lora_rank", 512));
        assert!(ModelWork::of(&[file(&keys, Vec::new())]).unwrap().attention.is_err());
    }

    #[test]
    fn experts_are_counted_apart() {
        let tensors = vec![
            tensor("blk.0.ffn_gate_inp.weight", &[64, 8], TensorType::F32),
            tensor("blk.0.ffn_up_exps.weight", &[64, 32, 8], TensorType::F16),
        ];
        let mut keys = SHAPE.to_vec();
        assert_eq!(ModelWork::of(&[file(&keys, tensors.clone())]), None, "how many are used?");
        keys.extend([("expert_count", 8), ("expert_used_count", 2)]);
        let work = ModelWork::of(&[file(&keys, tensors)]).expect("known");
        assert_eq!(work.experts, Some((2, 8)));
        assert_eq!((work.expert_parameters, work.expert_bytes), (64 * 32 * 8, 64 * 32 * 8 * 2));
        assert_eq!(work.dense_parameters, 512);
    }
}
