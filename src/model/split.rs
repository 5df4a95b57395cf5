//! The names of a split model's parts: `NAME-00001-of-00003.gguf`.
//!
//! Main type: [`SplitName`]. It knows names only, no folders and no files.

/// A part's file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitName {
    /// All before `-00001-of-00003.gguf`, with the path.
    prefix: String,
    /// How many parts there are, at least 1.
    pub(crate) count: u32,
}

impl SplitName {
    /// Takes a path or file name apart; `None` if it is not of a split model.
    ///
    /// The pattern is llama.cpp's `%s-%05d-of-%05d.gguf` with its numbers in range.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_suffix(".gguf")?;
        let (rest, count) = five_digits(rest)?;
        let rest = rest.strip_suffix("-of-")?;
        let (rest, index) = five_digits(rest)?;
        let prefix = rest.strip_suffix('-')?;
        (1..=count).contains(&index).then(|| Self { prefix: prefix.to_owned(), count })
    }

    /// The name of a part, numbered from 1.
    pub(crate) fn part(&self, index: u32) -> String {
        format!("{}-{index:05}-of-{:05}.gguf", self.prefix, self.count)
    }

    /// All names, the first part first.
    pub(crate) fn parts(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|index| self.part(index))
    }
}

fn five_digits(text: &str) -> Option<(&str, u32)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(5)?)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    Some((rest, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_names_them_all() {
        let split = SplitName::parse("q/model-00002-of-00003.gguf").expect("it is a part");
        let parts: Vec<String> = split.parts().collect();
        assert_eq!(
            parts,
            [
                "q/model-00001-of-00003.gguf",
                "q/model-00002-of-00003.gguf",
                "q/model-00003-of-00003.gguf"
            ]
        );
    }

    #[test]
    fn names_that_only_look_like_parts_are_whole_models() {
        for name in [
            "model.gguf",
            "model-00001-of-00003.bin",
            "model-1-of-3.gguf",
            "model-00004-of-00003.gguf",
            "model-00000-of-00003.gguf",
            "model00001-of-00003.gguf",
            "-of-.gguf",
            "é-00001-öf-00003.gguf",
        ] {
            assert_eq!(SplitName::parse(name), None, "{name}");
        }
    }
}
