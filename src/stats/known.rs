//! A number, or the reason why there is none.
//!
//! Main types: [`Known`] and [`Unknown`]. The reason travels with the number from where it was lost
//! to the report, so that no `null` of a report is without its explanation.

use std::borrow::Cow;

/// A value, or why there is none.
pub type Known<T> = Result<T, Unknown>;

/// Why a number is not known, in words for the reader of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(Cow<'static, str>);

impl Unknown {
    /// The reason: a lower-case fragment without a final full stop, never empty.
    #[must_use]
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }

    /// The words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
