//! Asks a Prometheus for the server's metrics over the load, and puts them beside our own scrape.
//!
//! Main function: [`ask`]. One `query_range` a metric, as bench.py asked. Whatever goes wrong is told
//! and harms nothing; our own scrape is what the figures of a run are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use super::agreement::{self, Point};
use super::answer::{self, Labels, Series};
use super::client::{Client, Silence};
use crate::artifact::{self, PrometheusSeries, ScrapeRow, Unknowns, scrape_rows};
use crate::cancel::Cancel;
use crate::load::{self, Stamp};
use crate::plan::prometheus::{Matcher, QuerySpec};
use crate::transport::ServerUrl;

/// What is asked for whether or not our own scrape has it: what bench.py drew, and the counters.
const METRICS: [&str; 9] = [
    "llamacpp:prompt_tokens_seconds",
    "llamacpp:predicted_tokens_seconds",
    "llamacpp:kv_cache_usage_ratio",
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
    "llamacpp:prompt_tokens_total",
    "llamacpp:prompt_seconds_total",
    "llamacpp:tokens_predicted_total",
    "llamacpp:tokens_predicted_seconds_total",
];

/// A Prometheus refuses more than 11,000 points of a series; a report is read by people too.
const MOST_POINTS: f64 = 1000.0;

/// Of one query. A Prometheus gives up itself after two minutes, but a job that waits costs money.
const LIMIT: Duration = Duration::from_secs(10);

/// Of all of them.
const LIMIT_OF_ALL: Duration = Duration::from_secs(30);

/// A sample that Prometheus takes for the value of an instant may be as old as this: its default is
/// five minutes, and some are configured otherwise.
const OLDEST_S: f64 = 3600.0;

/// Instants that went through text with three decimals are the same within this.
const SAME_INSTANT_S: f64 = 0.002;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Begin of the measured load.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// Between two of our own scrapes.
    pub own_interval: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// For the report, or why there is nothing.
    pub found: Result<artifact::Prometheus, String>,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// Asks. `base_url` is where the load went; `scrapes` our own `server-metrics.jsonl`, which may be
/// missing.
pub async fn ask(
    spec: &QuerySpec,
    window: Window,
    base_url: &str,
    scrapes: &Path,
    cancel: &Cancel,
) -> Asked {
    let asking = async {
        match tokio::time::timeout(LIMIT_OF_ALL, asked(spec, window, base_url, scrapes)).await {
            Ok(asked) => asked,
            Err(_late) => Err(format!(
                "it was too slow: not all was there after {} s",
                LIMIT_OF_ALL.as_secs()
            )),
        }
    };
    let found = tokio::select! {
        biased;
        _ = cancel.cancelled() => Err("the run was stopped before it was asked".to_owned()),
        found = asking => found,
    };
    match found {
        Ok(section) => {
            let warnings = disagreements(&section).into_iter().collect();
            Asked { found: Ok(section), warnings }
        }
        Err(why) => {
            let why = format!("the Prometheus at {} was of no help: {why}", spec.at.url);
            Asked { warnings: vec![why.clone()], found: Err(why) }
        }
    }
}

/// A counter of another server, or a clock that is wrong, shows here.
fn disagreements(section: &artifact::Prometheus) -> Option<String> {
    let disagrees = |series: &PrometheusSeries| {
        series.agreement.as_ref().is_some_and(|agreement| agreement.agrees == Some(false))
    };
    let names: Vec<&str> = section
        .series
        .iter()
        .filter(|(_, series)| disagrees(series))
        .map(|(name, _)| name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "the Prometheus at {} and our own scrape do not agree within one interval on {}: does {} name \
             this server, and do both clocks agree?",
            section.url,
            names.join(", "),
            answer::in_words(&section.instance)
        )
    })
}

/// The window in seconds since 1970, and how it is asked for.
struct Range {
    start: f64,
    end: f64,
    step: f64,
}

impl Range {
    fn of(window: Window) -> Self {
        let unix_now = chrono::Utc::now().timestamp_micros() as f64 / 1e6;
        let now = load::now();
        let at = |stamp: Stamp| unix_now - now.since(stamp).as_secs_f64();
        let (start, end) = (at(window.start), at(window.end));
        Self { start, end, step: step(end - start) }
    }
}

/// Whole seconds, so that the points of any window are fewer than are allowed.
fn step(window_s: f64) -> f64 {
    (window_s / MOST_POINTS).ceil().max(1.0)
}

async fn asked(
    spec: &QuerySpec,
    window: Window,
    base_url: &str,
    scrapes: &Path,
) -> Result<artifact::Prometheus, String> {
    let own = std::fs::read_to_string(scrapes).unwrap_or_default();
    let own = scrape_rows(&own).unwrap_or_default();
    let range = Range::of(window);
    let asker = Asker { client: Client::new(&spec.at)?, matchers: &spec.matchers, range: &range };
    let mut answers: BTreeMap<String, Result<Vec<Series>, String>> = BTreeMap::new();
    for name in names(&own) {
        let answer = match asker.range(&name, |selector| selector).await {
            Ok(answer) => answer,
            // Who did not answer once is not waited for twenty times.
            Err(Silence(why)) => return Err(why),
        };
        answers.insert(name, answer);
    }
    if let Some(why) = all_refused(&answers) {
        return Err(why);
    }
    let with_points = |series: &&Series| !series.points.is_empty();
    let found: BTreeSet<Labels> = answers
        .values()
        .flatten()
        .flatten()
        .filter(with_points)
        .map(|series| series.instance.clone())
        .collect();
    if found.is_empty() {
        let of =
            if spec.matchers.is_empty() { "" } else { " that --prometheus-match lets through" };
        return Err(format!(
            "it has no llamacpp: series{of} in this window; does it scrape the server's /metrics?"
        ));
    }
    let address = ServerUrl::parse(base_url).ok().map(|url| url.host_and_port());
    let instance = answer::choose(&found, address.as_deref())?;
    let ours: BTreeMap<String, Result<Vec<Point>, String>> = answers
        .into_iter()
        .map(|(name, answer)| {
            let mine = |all: Vec<Series>| all.into_iter().find(|one| one.instance == instance);
            (name, answer.map(|all| mine(all).map(|one| one.points).unwrap_or_default()))
        })
        .collect();
    let taken = asker.taken(&ours, &instance).await;
    let own_interval = window.own_interval.as_secs_f64();
    let mut intervals = Vec::new();
    let series = ours
        .into_iter()
        .map(|(name, points)| {
            let samples = points.map(|points| samples(&points, taken.as_ref(), &range));
            if let (Ok(samples), Some(_)) = (&samples, &taken) {
                let pairs = samples.windows(2).map(|pair| pair[1].0 - pair[0].0);
                intervals.extend(pairs);
            }
            let own: Vec<Point> =
                own.iter().filter_map(|row| Some((row.unix_s()?, row.value(&name)?))).collect();
            let series = series(&name, samples, &own, own_interval, &range);
            (name, series)
        })
        .collect();
    let mut unknown = Unknowns::none();
    let shortest = intervals.into_iter().reduce(f64::min);
    Ok(artifact::Prometheus {
        url: spec.at.url.clone(),
        start: date(range.start),
        end: date(range.end),
        step_s: range.step,
        instance,
        scrape_interval_s: unknown.option(
            "scrape_interval_s",
            shortest.map(thousandths),
            "fewer than two of its scrapes are in this window",
        ),
        series,
        unknown,
    })
}

/// What is asked for: what is known, and whatever our own scrape saw besides.
fn names(own: &[ScrapeRow]) -> BTreeSet<String> {
    let seen = own.iter().filter_map(|row| row.metrics.as_ref()).flat_map(BTreeMap::keys);
    let seen = seen.filter(|name| {
        let rest = name.strip_prefix("llamacpp:");
        rest.is_some_and(|rest| rest.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()))
    });
    METRICS.iter().map(|name| (*name).to_owned()).chain(seen.cloned()).collect()
}

/// Why there is no answer at all, where every query was refused.
fn all_refused(answers: &BTreeMap<String, Result<Vec<Series>, String>>) -> Option<String> {
    let mut refusals = answers.values().map(|answer| answer.as_ref().err());
    let first = refusals.next()??;
    refusals.all(|refusal| refusal.is_some()).then(|| first.clone())
}

struct Asker<'a> {
    client: Client,
    matchers: &'a [Matcher],
    range: &'a Range,
}

impl Asker<'_> {
    /// The series of one metric in a query around its selector. A refusal of this query is inside.
    async fn range(
        &self,
        name: &str,
        query: impl Fn(String) -> String,
    ) -> Result<Result<Vec<Series>, String>, Silence> {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        let selector = match matchers.as_slice() {
            [] => name.to_owned(),
            matchers => format!("{name}{{{}}}", matchers.join(",")),
        };
        let Range { start, end, step } = self.range;
        let mut url = Url::parse(&format!("{}/api/v1/query_range", self.client.url))
            .expect("a path behind an address that was read is one");
        url.query_pairs_mut()
            .append_pair("query", &query(selector))
            .append_pair("start", &format!("{start:.3}"))
            .append_pair("end", &format!("{end:.3}"))
            .append_pair("step", &step.to_string());
        let answer = self.client.exchange(self.client.http.get(url), LIMIT).await?;
        if answer.status != 200 {
            return Ok(Err(format!("it {}", answer.in_words())));
        }
        Ok(answer::matrix(&answer.body).map_err(|why| {
            let is_page = answer.kind == "text/html";
            if is_page { format!("{why}, a page: is this a Prometheus?") } else { why }
        }))
    }

    /// When the sample behind each point was really taken; `None` where that cannot be had. All
    /// metrics of one instance are taken at once, so one question does for all.
    async fn taken(
        &self,
        ours: &BTreeMap<String, Result<Vec<Point>, String>>,
        instance: &Labels,
    ) -> Option<Vec<Point>> {
        let has_most = |points: &Result<Vec<Point>, String>| points.as_ref().map_or(0, Vec::len);
        let (name, _) = ours.iter().max_by_key(|(_, points)| has_most(points))?;
        let answer = self.range(name, |selector| format!("timestamp({selector})")).await;
        let series = answer.ok()?.ok()?;
        let taken = series.into_iter().find(|one| one.instance == *instance)?.points;
        let is_likely =
            |(at, taken): &Point| *taken <= at + SAME_INSTANT_S && *taken > at - OLDEST_S;
        (!taken.is_empty() && taken.iter().all(is_likely)).then_some(taken)
    }
}

/// The samples of the window, each once. Prometheus fills each point with the last sample before it, so
/// the same one may stand at many points, and the first may be from before the load.
fn samples(points: &[Point], taken: Option<&Vec<Point>>, range: &Range) -> Vec<Point> {
    let mut samples: Vec<Point> = Vec::new();
    for (at, value) in points {
        let when = match taken {
            None => *at,
            Some(taken) => {
                let found = taken.iter().find(|(point, _)| (point - at).abs() < SAME_INSTANT_S);
                let Some((_, when)) = found else { continue };
                *when
            }
        };
        // A point lies in the window, since it was asked for there; the sample behind it may not.
        let is_inside = taken.is_none() || (range.start..=range.end).contains(&when);
        let is_new = samples.last().is_none_or(|(last, _)| when > last + SAME_INSTANT_S / 2.0);
        if is_inside && is_new {
            samples.push((when, *value));
        }
    }
    samples
}

fn series(
    name: &str,
    samples: Result<Vec<Point>, String>,
    own: &[Point],
    own_interval: f64,
    range: &Range,
) -> PrometheusSeries {
    let mut unknown = Unknowns::none();
    let (samples, why_none) = match samples {
        Ok(samples) => (samples, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let finite: Vec<Point> = samples.iter().copied().filter(|(_, v)| v.is_finite()).collect();
    let why_none = why_none.unwrap_or_else(|| {
        if samples.is_empty() {
            format!(
                "Prometheus took no sample of it in the {:.1} s of the load",
                range.end - range.start
            )
        } else {
            format!("none of its {} samples is a number", samples.len())
        }
    });
    let values: Vec<f64> = finite.iter().map(|(_, value)| *value).collect();
    let some = |figure: f64| (!values.is_empty()).then_some(figure);
    let least = some(values.iter().copied().fold(f64::INFINITY, f64::min));
    let most = some(values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let mean =
        some(values.iter().sum::<f64>() / values.len() as f64).filter(|mean| mean.is_finite());
    let compared = agreement::compare(&finite, own, own_interval, name.ends_with("_total"));
    let why_not_compared = match (finite.is_empty(), own.is_empty()) {
        (true, _) => why_none.as_str(),
        (false, true) => "our own scrape has no such metric",
        (false, false) => "none of its samples lies between two of our own",
    };
    PrometheusSeries {
        t_s: finite.iter().map(|(at, _)| thousandths(at - range.start)).collect(),
        min: unknown.option("min", least, why_none.as_str()),
        mean: unknown.option("mean", mean, why_none.as_str()),
        max: unknown.option("max", most, why_none.as_str()),
        agreement: unknown.option("agreement", compared, why_not_compared),
        values,
        unknown,
    }
}

fn thousandths(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn date(unix_s: f64) -> String {
    let date = chrono::DateTime::from_timestamp_millis((unix_s * 1e3).round() as i64);
    date.unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_has_more_points_than_prometheus_allows() {
        for window_s in [0.0, 0.5, 60.0, 999.0, 1001.0, 11_000.0, 86_400.0, 31_536_000.0] {
            let step = step(window_s);
            assert!(step >= 1.0 && window_s / step + 1.0 <= 1001.0, "{window_s}: {step}");
        }
        assert!((step(f64::NAN) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_sample_counts_once_and_at_the_instant_at_which_it_was_taken() {
        let range = Range { start: 100.0, end: 104.0, step: 1.0 };
        let points = [(100.0, 1.0), (101.0, 2.0), (102.0, 2.0), (103.0, 3.0), (104.0, 3.0)];
        // The first was taken before the load began.
        let taken =
            vec![(100.0, 98.5), (101.0, 100.5), (102.0, 100.5), (103.0, 102.5), (104.0, 102.5)];
        assert_eq!(samples(&points, Some(&taken), &range), [(100.5, 2.0), (102.5, 3.0)]);
        assert_eq!(samples(&points, None, &range), points);
        assert_eq!(samples(&[], Some(&taken), &range), []);
    }

    #[test]
    fn what_is_no_number_is_left_out_and_told() {
        let range = Range { start: 0.0, end: 9.0, step: 1.0 };
        let name = "llamacpp:prompt_tokens_seconds";
        let of = |samples| series(name, samples, &[], 1.0, &range);
        let some = of(Ok(vec![(1.0, f64::NAN), (2.0, 4.0), (3.0, 2.0)]));
        assert_eq!((some.min, some.mean, some.max), (Some(2.0), Some(3.0), Some(4.0)));
        assert_eq!((some.t_s, some.values), (vec![2.0, 3.0], vec![4.0, 2.0]));
        for (samples, expected) in [
            (Ok(vec![(1.0, f64::NAN), (2.0, f64::INFINITY)]), "none of its 2 samples"),
            (Ok(Vec::new()), "no sample"),
            (Err("refused".to_owned()), "refused"),
        ] {
            let none = of(samples);
            assert_eq!((none.min, none.mean, none.max), (None, None, None));
            let why = none.unknown.reason("mean").expect("a reason");
            assert!(why.contains(expected), "{why}");
        }
    }
}
