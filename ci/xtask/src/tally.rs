//! The arithmetic behind the closing line. Pure: it reads text and counts.
//!
//! Main type: [`Tally`]. libtest's own summary is never taken at its word alone: a test process
//! that dies half-way prints none, and a test may print a line that only looks like one. So the
//! number of tests a binary lists beforehand, its last summary line and its exit status must
//! agree; where they do not, what is missing is counted as failed.

/// The sums of a whole run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and passed.
    pub(crate) passed: u64,
    /// Tests that ran and failed, or should have run and did not, and steps of the gate that failed.
    pub(crate) failed: u64,
    /// Tests that were left out.
    pub(crate) skipped: u64,
    /// A name for each failure that has one.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Takes in the sums of a part.
    pub(crate) fn add(&mut self, part: Tally) {
        self.passed += part.passed;
        self.failed += part.failed;
        self.skipped += part.skipped;
        self.failures.extend(part.failures);
    }

    /// Counts a step that failed as a whole.
    pub(crate) fn step_failed(&mut self, name: impl Into<String>) {
        self.failed += 1;
        self.failures.push(name.into());
    }

    /// Whether the run may end with exit status 0: something ran, and none of it failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// `N passed, N failed`, and `, N skipped` only where tests were left out.
    pub(crate) fn closing_line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

/// One `test result:` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summary {
    ok: bool,
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
}

impl Summary {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`.
    fn parse(line: &str) -> Option<Self> {
        let (verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let ok = match verdict {
            "ok" => true,
            "FAILED" => false,
            _ => return None,
        };
        let count = |label: &str| {
            counts.split("; ").find_map(|part| part.strip_suffix(label)?.trim().parse().ok())
        };
        Some(Self {
            ok,
            passed: count(" passed")?,
            failed: count(" failed")?,
            ignored: count(" ignored")?,
            filtered: count(" filtered out")?,
        })
    }
}

/// What was seen of one test process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// For the reader: `bench-ci (test it)`.
    pub(crate) binary: &'a str,
    /// How many tests it should account for: those it listed beforehand, less those of another pass;
    /// `None` where that could not be asked (doctests).
    pub(crate) listed: Option<u64>,
    /// How many tests of the same binary another pass plays; they are filtered out here, not left out.
    pub(crate) elsewhere: u64,
    /// Its whole standard output.
    pub(crate) output: &'a str,
    /// Whether its exit status was 0.
    pub(crate) success: bool,
}

/// The sums of one test process.
pub(crate) fn count(seen: Seen<'_>) -> Tally {
    let mut tally = Tally::default();
    let mut summaries: Vec<Summary> = seen.output.lines().filter_map(Summary::parse).collect();
    if seen.listed.is_some() {
        // One process, one summary, printed last. Earlier ones are some test's own output.
        summaries = summaries.pop().into_iter().collect();
    }
    let all_ok = summaries.iter().all(|summary| summary.ok);
    for summary in &summaries {
        tally.passed += summary.passed;
        tally.failed += summary.failed;
        tally.skipped += summary.ignored + summary.filtered.saturating_sub(seen.elsewhere);
    }
    if tally.failed > 0 {
        tally.failures = failed_names(seen.output)
            .into_iter()
            .map(|name| format!("{name} in {}", seen.binary))
            .collect();
    }

    let accounted = tally.passed + tally.failed + tally.skipped;
    match seen.listed {
        Some(listed) if accounted < listed => {
            tally.failed += listed - accounted;
            tally.failures.push(format!(
                "{}: {} of its {listed} tests did not report",
                seen.binary,
                listed - accounted
            ));
        }
        Some(listed) if accounted > listed => {
            tally.step_failed(format!(
                "{}: it reported {accounted} tests but had listed {listed}",
                seen.binary
            ));
        }
        _ => {}
    }
    if tally.failed == 0 && !(seen.success && all_ok) {
        tally.step_failed(format!("{}: it did not end well", seen.binary));
    }
    tally
}

/// The names in libtest's lines `test NAME ... FAILED`.
fn failed_names(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect()
}

/// How many tests the output of `--list --format terse` names, of those with `part` in their path.
pub(crate) fn count_listed(list: &str, part: &str) -> u64 {
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.contains(part))
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\nrunning 3 tests\ntest a ... ok\ntest b ... ok\ntest c ... ignored\n\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";

    fn seen(output: &str, listed: Option<u64>, success: bool) -> Tally {
        count(Seen { binary: "x", listed, elsewhere: 0, output, success })
    }

    #[test]
    fn a_good_run_is_counted_as_it_says() {
        let tally = seen(GOOD, Some(3), true);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (2, 0, 1));
        assert_eq!(tally.closing_line(), "2 passed, 0 failed, 1 skipped");
        assert!(tally.is_good());
    }

    #[test]
    fn a_failed_test_is_counted_and_named() {
        let output = "running 2 tests\ntest a ... ok\ntest room::b ... FAILED\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let tally = seen(output, Some(2), false);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["room::b in x"]);
        assert!(!tally.is_good());
    }

    #[test]
    fn a_process_that_died_half_way_fails_what_it_did_not_report() {
        let tally = seen("running 40 tests\ntest a ... ok\n", Some(40), false);
        assert_eq!((tally.passed, tally.failed), (0, 40));
        assert!(!tally.is_good());
    }

    #[test]
    fn a_summary_that_a_test_printed_is_not_believed() {
        let fake =
            "test result: ok. 999 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; x\n";
        let tally = seen(&format!("{fake}{GOOD}"), Some(3), true);
        assert_eq!(tally.passed, 2);
        // Even where it is the only one: the list says how many there are.
        let tally = seen(fake, Some(3), true);
        assert!(!tally.is_good());
    }

    #[test]
    fn an_exit_status_outvotes_a_good_summary() {
        let tally = seen(GOOD, Some(3), false);
        assert_eq!(tally.failed, 1);
    }

    #[test]
    fn doctests_may_come_in_several_summaries() {
        let tally = seen(&format!("{GOOD}{GOOD}"), None, true);
        assert_eq!((tally.passed, tally.failed), (4, 0));
    }

    #[test]
    fn a_run_without_a_single_passed_test_is_not_good() {
        let tally = seen("", Some(0), true);
        assert_eq!(tally.closing_line(), "0 passed, 0 failed");
        assert!(!tally.is_good());
    }

    #[test]
    fn tests_left_out_by_a_filter_are_skipped_and_said_so() {
        let output = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n";
        assert_eq!(seen(output, Some(9), true).closing_line(), "2 passed, 0 failed, 7 skipped");
    }

    #[test]
    fn what_another_pass_plays_is_neither_skipped_nor_excused() {
        let output = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n";
        let pass = |listed, elsewhere| {
            count(Seen { binary: "x", listed: Some(listed), elsewhere, output, success: true })
        };
        assert_eq!(pass(4, 5).closing_line(), "2 passed, 0 failed, 2 skipped");
        assert_eq!(pass(2, 7).closing_line(), "2 passed, 0 failed");
        assert!(!pass(3, 7).is_good(), "one did not report");
        assert!(!pass(2, 6).is_good(), "one reported too many");
    }

    #[test]
    fn the_list_counts_tests_only() {
        let list = "a::b: test\nc: test\nd: bench\n";
        assert_eq!((count_listed(list, ""), count_listed(list, "a::")), (2, 1));
    }
}
