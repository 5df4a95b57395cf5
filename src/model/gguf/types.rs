//! The numbers of ggml: tensor types with their block sizes, and file types with their names.
//!
//! Main type: [`TensorType`]. It knows sizes and names, not how to decode a block.
//! Source: ggml's `ggml.h` (`enum ggml_type`), `ggml-common.h` (blocks), llama.h (`llama_ftype`).

/// One of ggml's tensor types, as numbered in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorType(pub u32);

/// Number, name, weights in a block, bytes of a block.
const TENSOR_TYPES: [(u32, &str, u64, u64); 34] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

/// `llama_ftype` to the name that llama.cpp prints.
const FILE_TYPES: [(u32, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (33, "Q4_0_4_4"),
    (34, "Q4_0_4_8"),
    (35, "Q4_0_8_8"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
];

impl TensorType {
    /// 32-bit floats.
    pub const F32: TensorType = TensorType(0);
    /// 16-bit floats.
    pub const F16: TensorType = TensorType(1);
    /// Blocks of 32 weights of 4 bits with one 16-bit scale.
    pub const Q4_0: TensorType = TensorType(2);
    /// Blocks of 32 weights of 8 bits with one 16-bit scale.
    pub const Q8_0: TensorType = TensorType(8);

    fn entry(self) -> Option<&'static (u32, &'static str, u64, u64)> {
        TENSOR_TYPES.iter().find(|(number, ..)| *number == self.0)
    }

    /// The name that ggml gives it; a number for one that this build does not know.
    #[must_use]
    pub fn name(self) -> String {
        match self.entry() {
            Some((_, name, ..)) => (*name).to_owned(),
            None => format!("type {}", self.0),
        }
    }

    /// The type of this name in any case, such as `q8_0`; `None` for an unknown one.
    #[must_use]
    pub fn named(name: &str) -> Option<TensorType> {
        let known = |(_, known, ..): &&(u32, &str, u64, u64)| known.eq_ignore_ascii_case(name);
        TENSOR_TYPES.iter().find(known).map(|(number, ..)| TensorType(*number))
    }

    /// Weights in a block; `None` for an unknown type.
    #[must_use]
    pub fn block_weights(self) -> Option<u64> {
        self.entry().map(|(_, _, weights, _)| *weights)
    }

    /// Bytes that so many weights take; `None` for an unknown type or a number past 2^64.
    #[must_use]
    pub fn size_bytes(self, weights: u64) -> Option<u64> {
        let (_, _, block_weights, block_bytes) = self.entry()?;
        weights.div_ceil(*block_weights).checked_mul(*block_bytes)
    }
}

/// The name of a `general.file_type`; `None` for an unknown one.
#[must_use]
pub fn file_type_name(file_type: u64) -> Option<&'static str> {
    // Bit 10 marks a type that llama.cpp guessed from the tensors.
    let number = file_type & !1024;
    FILE_TYPES.iter().find(|(known, _)| u64::from(*known) == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_ggml_s_blocks() {
        assert_eq!(TensorType::Q4_0.size_bytes(64), Some(36));
        assert_eq!(TensorType::Q8_0.size_bytes(32), Some(34));
        assert_eq!(TensorType::F16.size_bytes(3), Some(6));
        assert_eq!(TensorType::named("q8_0"), Some(TensorType::Q8_0));
        assert_eq!(TensorType::named("q8"), None);
        assert_eq!(TensorType(9999).size_bytes(1), None);
        assert_eq!(TensorType(9999).name(), "type 9999");
        assert_eq!(TensorType(28).size_bytes(u64::MAX), None, "no overflow");
    }

    #[test]
    fn file_types_have_llama_cpp_s_names() {
        assert_eq!(file_type_name(15), Some("Q4_K_M"));
        assert_eq!(file_type_name(1024 + 7), Some("Q8_0"));
        assert_eq!(file_type_name(77), None);
    }
}
