//! Percentages as people write them: `2%`, `2 %`, `2`.

/// `2%`, `2 %` or `2` → 0.02; above 0 and at most 1.
///
/// # Errors
/// What was expected, as the last part of `invalid value "…" for …: …`.
pub fn parse(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim()
        .trim_end_matches('%')
        .trim()
        .parse()
        .map_err(|_not_a_number| "expected a percentage such as 2%".to_owned())?;
    if number.is_finite() && number > 0.0 && number <= 100.0 {
        Ok(number / 100.0)
    } else {
        Err("expected a percentage above 0 and up to 100, such as 2%".to_owned())
    }
}
