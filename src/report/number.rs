//! How numbers look to a person: three significant digits, thousands apart, a unit that fits.

/// Three significant digits; from 1,000 on whole numbers with separators.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    // The bounds are where rounding would carry into the next power of ten.
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        let leading = -size.log10().floor() as i32; // 0.0123 → 2
        usize::try_from(leading + 2).unwrap_or(2).min(9)
    };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        None => separate(&text),
        Some(_) => text,
    }
}

/// A whole number with separators.
pub(crate) fn whole(value: u64) -> String {
    separate(&value.to_string())
}

fn separate(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let mut text = sign.to_owned();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the decimal unit that fits.
pub(crate) fn bytes(value: u64) -> String {
    let mut size = value as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            return format!("{} {unit}", short(size));
        }
        size /= 1e3;
    }
    format!("{} TB", short(size))
}

/// Bytes in the binary unit that fits, as memory and downloads are told: `1.50 KiB`.
pub(crate) fn binary_bytes(value: u64) -> String {
    let mut size = value as f64;
    if size < 1024.0 {
        return format!("{value} B");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        size /= 1024.0;
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
    }
    format!("{:.2} TiB", size / 1024.0)
}

/// Seconds in the unit that fits.
pub(crate) fn seconds(value: f64) -> String {
    if value < 0.001 {
        format!("{} µs", short(value * 1e6))
    } else if value < 1.0 {
        format!("{} ms", short(value * 1e3))
    } else if value < 120.0 {
        format!("{} s", short(value))
    } else {
        let all = value.round() as u64;
        format!("{} min {:02} s", all / 60, all % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (0.999_9, "1.00"),
            (1.234, "1.23"),
            (9.996, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (1_234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1_234.6, "-1,235"),
            (-0.5, "-0.500"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn units_fit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999_600), "1.00 MB");
        assert_eq!(bytes(1_234_567_890), "1.23 GB");
        assert_eq!(binary_bytes(1_023), "1023 B");
        assert_eq!(binary_bytes(1_536), "1.50 KiB");
        assert_eq!(binary_bytes(5 << 30), "5.00 GiB");
        assert_eq!(seconds(0.000_25), "250 µs");
        assert_eq!(seconds(0.25), "250 ms");
        assert_eq!(seconds(12.34), "12.3 s");
        assert_eq!(seconds(605.4), "10 min 05 s");
    }
}
