//! The grammar of thresholds: k6's documented examples, and what is said about everything else.

use super::*;
use crate::plan::subject::Figure;
use crate::stats::metric;

/// Every expression of k6's documentation ("Thresholds", version 1.4), under the name it has there or,
/// where that is of somebody's script, under one of ours of the same kind.
#[test]
fn the_documented_examples_of_k6_are_read_as_k6_reads_them() {
    for (metric, expression, method, operator, limit) in [
        ("http_req_failed", "rate<0.01", Method::Rate, Operator::Below, 0.01),
        ("http_req_duration", "p(95)<200", Method::Percentile(95.0), Operator::Below, 200.0),
        ("http_req_duration", "p(90) < 400", Method::Percentile(90.0), Operator::Below, 400.0),
        ("http_req_duration", "p(99.9) < 2000", Method::Percentile(99.9), Operator::Below, 2000.0),
        ("http_req_duration", "avg<100", Method::Avg, Operator::Below, 100.0),
        ("http_req_duration", "max<=5000", Method::Max, Operator::AtMost, 5000.0),
        ("http_req_duration", "min>0.5", Method::Min, Operator::Above, 0.5),
        ("http_req_duration", "med<200", Method::Med, Operator::Below, 200.0),
        ("http_reqs", "count>=1000", Method::Count, Operator::AtLeast, 1000.0),
        ("http_reqs", "rate>100", Method::Rate, Operator::Above, 100.0),
        ("failed_requests", "count<100", Method::Count, Operator::Below, 100.0),
        ("failed_requests", "count===0", Method::Count, Operator::Equal, 0.0),
        ("failed_requests", "count==0", Method::Count, Operator::Equal, 0.0),
        ("failed_requests", "count!=1", Method::Count, Operator::Unequal, 1.0),
        ("requests_per_second", "value<4000", Method::Value, Operator::Below, 4000.0),
        ("checks", "rate>0.9", Method::Rate, Operator::Above, 0.9),
        ("llamacpp_completions_truncated_rate", "rate < 0.8", Method::Rate, Operator::Below, 0.8),
        ("ttft_ms", "  p( 95 )   <=   1e3 ", Method::Percentile(95.0), Operator::AtMost, 1000.0),
    ] {
        let read = Threshold::new(metric, expression).expect(expression);
        assert_eq!((read.method, read.operator, read.limit), (method, operator, limit), "{metric}");
        let flag = Threshold::parse(&format!("{metric}: {expression}")).expect(expression);
        assert_eq!(flag, read, "the flag means the same");
    }
}

#[test]
fn names_of_k6_mean_what_they_mean_there() {
    for (name, figure) in [
        ("http_req_duration", Figure::Metric(&metric::E2E_MS)),
        ("http_req_waiting", Figure::WaitingMs),
        ("llamacpp_completions_truncated_rate", Figure::TruncatedRatio),
        ("llamacpp_completions_stop_rate", Figure::StoppedRatio),
        ("llamacpp_tokens_second", Figure::ScriptTokensPerSecond),
        ("llamacpp_prompt_processing_second", Figure::ScriptPromptTokensPerSecond),
        ("llamacpp_prompt_tokens", Figure::Metric(&metric::PROMPT_TOKENS)),
        ("llamacpp_completion_tokens_total_counter", Figure::CompletionTokensTotal),
        ("dropped_iterations", Figure::DroppedRequests),
    ] {
        assert_eq!(Subject::named(name), Ok(Subject::Own(figure)), "{name}");
    }
}

#[test]
fn a_flag_may_abort_delay_or_warn() {
    let read = Threshold::parse("truncated_ratio: rate < 0.8,abort,delay=1m").unwrap();
    assert!(read.abort);
    assert_eq!(read.delay, Duration::from_secs(60));
    assert_eq!(read.to_string(), "truncated_ratio: rate < 0.8");
    let read = Threshold::parse("ttft_ms: avg < 5 , warn").unwrap();
    assert_eq!((read.crossing, read.abort), (Crossing::Warns, false));
}

#[test]
fn a_metric_with_one_method_may_go_without() {
    let read = Threshold::parse("llamacpp_completions_truncated_rate < 0.8,abort").unwrap();
    assert_eq!((read.method, read.abort), (Method::Rate, true));
    assert_eq!(read.to_string(), "llamacpp_completions_truncated_rate < 0.8");
    assert_eq!(Threshold::parse("output_tokens_per_second > 10").unwrap().method, Method::Value);
    assert!(Threshold::parse("ttft_ms < 10").is_err(), "of a trend nobody knows which is meant");
}

#[test]
fn metrics_of_the_server_keep_colons_and_labels() {
    for (typed, name, method) in [
        ("server:llamacpp:requests_deferred: max < 3", "llamacpp:requests_deferred", Method::Max),
        ("server:llamacpp:requests_deferred:max<3", "llamacpp:requests_deferred", Method::Max),
        ("server:llamacpp:requests_deferred < 3", "llamacpp:requests_deferred", Method::Value),
        (
            "server:vllm:cache{a=\"x, y: 1 < 2\",b=\"z\"}: value < 3,abort",
            "vllm:cache{a=\"x, y: 1 < 2\",b=\"z\"}",
            Method::Value,
        ),
        ("server:vllm:cache{a=\"x\"} < 3", "vllm:cache{a=\"x\"}", Method::Value),
        ("server:tokens: rate > 3", "tokens", Method::Rate),
    ] {
        let read = Threshold::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
        assert_eq!(read.subject, Subject::Server(name.to_owned()), "{typed}");
        assert_eq!((read.method, read.limit), (method, 3.0), "{typed}");
    }
}

#[test]
fn what_is_no_threshold_is_explained() {
    for (typed, message, hint) in [
        ("ttft_ms", "no comparison in \"ttft_ms\"", "write METRIC: METHOD OPERATOR NUMBER"),
        (": avg < 3", "it names no metric", "write METRIC: METHOD"),
        ("ttft: avg < 3", "unknown metric \"ttft\"", "did you mean \"ttft_ms\"?"),
        ("banana: avg < 3", "unknown metric \"banana\"", "server:NAME"),
        ("ttft_ms: p95 < 3", "has no method \"p95\"", "did you mean \"p(95)\"?"),
        ("ttft_ms: p(101) < 3", "has no method \"p(101)\"", "from p(0) to p(100)"),
        (
            "ttft_ms: mean < 3",
            "\"ttft_ms\" is a trend and has no method \"mean\"",
            "did you mean \"avg\"?",
        ),
        ("ttft_ms: median < 3", "has no method \"median\"", "did you mean \"med\"?"),
        (
            "ttft_ms: rate < 3",
            "has no method \"rate\"",
            "a trend has \"avg\", \"min\", \"max\", \"med\" or \"p(N)\"",
        ),
        ("http_reqs: avg < 3", "is a counter", "a counter has \"count\" or \"rate\""),
        ("failed_ratio: count < 3", "is a rate", "a rate has \"rate\""),
        ("server:x: p(95) < 3", "is a metric of the server", "\"value\""),
        ("ttft_ms: avg < 200ms", "\"200ms\" is not a number", "without it"),
        ("ttft_ms: avg < NaN", "\"NaN\" is not a number", ""),
        ("ttft_ms: avg < inf", "\"inf\" is not a number", ""),
        ("ttft_ms: avg <", "\"\" is not a number", ""),
        ("ttft_ms: avg =< 3", "has no method \"avg =\"", ""),
        (
            "http_req_duration{type:API}: p(95)<500",
            "metric \"http_req_duration\" has no tags",
            "leave the braces out",
        ),
        ("ttft_ms: avg < 3,abrt", "unknown option \"abrt\"", "did you mean \"abort\"?"),
        ("ttft_ms: avg < 3,delay", "unknown option \"delay\"", "did you mean \"delay=1m\"?"),
        ("ttft_ms: avg < 3,abort,delay=60", "invalid delay \"60\"", "write it as delay=1m"),
        ("itl_ms: avg < 3,abort", "\"itl_ms\" is known only when the load ends", "tpot_ms"),
    ] {
        let error = Threshold::parse(typed).expect_err(typed);
        assert!(error.to_string().contains(message), "{typed}: {error}");
        assert!(error.hint().contains(hint), "{typed}: {}", error.hint());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let read = Threshold::parse(&text);
        proptest::prop_assert!(read.is_ok() || read.is_err());
    }
}
