//! What `/api/v1/query_range` answers, read; and which of the instances in it is ours.
//!
//! Main functions: [`matrix`] and [`choose`]. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Labels, by name.
pub(super) type Labels = BTreeMap<String, String>;

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Without the metric's name: the same for all metrics of one instance.
    pub(super) instance: Labels,
    /// Seconds since 1970 and value, in the answer's order; values may be infinite or no number.
    pub(super) points: Vec<(f64, f64)>,
}

/// How many instances are named where there are too many.
const NAMED: usize = 5;

/// The series of an answer of status 200.
pub(super) fn matrix(body: &[u8]) -> Result<Vec<Series>, String> {
    let odd = |what: &str| format!("it answered something else than {what}");
    let answer: Value = serde_json::from_slice(body).map_err(|_not_json| odd("JSON"))?;
    if answer["status"] != "success" {
        let said = answer["error"].as_str().unwrap_or("no success, and no reason");
        return Err(super::client::plain(said));
    }
    let (data, kind) = (&answer["data"], "matrix");
    let result = data["result"].as_array().filter(|_| data["resultType"] == kind);
    let result = result.ok_or_else(|| odd("a matrix"))?;
    result.iter().map(|one| series(one).ok_or_else(|| odd("series of numbers"))).collect()
}

fn series(one: &Value) -> Option<Series> {
    let labels = one["metric"].as_object()?;
    let labels = labels.iter().filter(|(name, _)| name.as_str() != "__name__");
    let instance = labels
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect::<Option<Labels>>()?;
    let no_points = Vec::new();
    // Native histograms have no values; they are nothing that llama-server offers.
    let points = if one["values"].is_null() { &no_points } else { one["values"].as_array()? };
    let points = points
        .iter()
        .map(|point| Some((point[0].as_f64()?, number(point[1].as_str()?)?)))
        .collect::<Option<Vec<_>>>()?;
    Some(Series { instance, points })
}

/// A value as Prometheus writes it: `1.5`, `NaN`, `+Inf`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The instance that is meant, of all that have an answer: the only one, or the one that is scraped
/// under the address that the load went to.
pub(super) fn choose(found: &BTreeSet<Labels>, address: Option<&str>) -> Result<Labels, String> {
    let mut all = found.iter();
    let (Some(first), second) = (all.next(), all.next()) else {
        return Err("no instance has an answer".to_owned());
    };
    if second.is_none() {
        return Ok(first.clone());
    }
    let ours: Vec<&Labels> = found
        .iter()
        .filter(|labels| labels.get("instance").map(String::as_str) == address)
        .filter(|_| address.is_some())
        .collect();
    if let [only] = ours[..] {
        return Ok(only.clone());
    }
    let named: Vec<String> = found.iter().take(NAMED).map(in_words).collect();
    let more = if found.len() > NAMED { ", …" } else { "" };
    Err(format!(
        "it has {} instances of llama-server ({}{more}); say which with --prometheus-match",
        found.len(),
        named.join(", ")
    ))
}

/// `{instance="a:1",job="b"}`
pub(super) fn in_words(labels: &Labels) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            format!("{name}=\"{}\"", crate::plan::prometheus::escaped_label_value(value))
        })
        .collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_answer_is_read_with_all_that_a_value_may_be() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"up","instance":"h:1"},
             "values":[[1.5,"2"],[2,"NaN"],[3,"+Inf"],[4,"-Inf"],[5,"1e3"]]},
            {"metric":{},"histograms":[]}]},"warnings":["w"]}"#;
        let found = matrix(body).expect("a matrix");
        assert_eq!(found[0].instance, labels(&[("instance", "h:1")]));
        let points = &found[0].points;
        assert_eq!((points[0], points[4]), ((1.5, 2.0), (5.0, 1000.0)));
        assert!(points[1].1.is_nan() && points[2].1.is_infinite() && points[3].1.is_infinite());
        assert_eq!(found[1].points, []);
    }

    #[test]
    fn an_answer_that_is_none_says_what_it_was() {
        for (body, expected) in [
            (&b"<html>"[..], "something else than JSON"),
            (b"", "something else than JSON"),
            (b"[]", "no success"),
            (br#"{"status":"error","errorType":"bad_data","error":"parse\nerror"}"#, "parse error"),
            (br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "a matrix"),
            (br#"{"status":"success","data":{"resultType":"matrix","result":{}}}"#, "a matrix"),
            (
                br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,2]]}]}}"#,
                "series of numbers",
            ),
            (
                br#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[]}]}}"#,
                "series of numbers",
            ),
        ] {
            let why = matrix(body).expect_err("no matrix");
            assert!(why.contains(expected), "{why}");
        }
        let none = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(matrix(none), Ok(Vec::new()));
    }

    #[test]
    fn of_several_instances_the_one_at_our_address_is_taken_or_none() {
        let one = labels(&[("instance", "h:1"), ("job", "a")]);
        let other = labels(&[("instance", "h:2"), ("job", "a")]);
        let twin = labels(&[("instance", "h:2"), ("job", "b")]);
        let set = |all: &[&Labels]| all.iter().map(|one| (*one).clone()).collect::<BTreeSet<_>>();
        assert_eq!(choose(&set(&[&one]), Some("elsewhere:1")), Ok(one.clone()));
        assert_eq!(choose(&set(&[&one, &other]), Some("h:2")), Ok(other.clone()));
        for (found, address) in [
            (set(&[&one, &other]), Some("elsewhere:1")),
            (set(&[&one, &other]), None),
            (set(&[&one, &other, &twin]), Some("h:2")),
            (set(&[&labels(&[]), &labels(&[("job", "x")])]), None),
        ] {
            let why = choose(&found, address).expect_err("cannot tell");
            assert!(why.contains("--prometheus-match"), "{why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(matrix(&body));
        }
    }
}
