//! From the flags of Prometheus, and the variables with what opens it, to their part of the plan.
//!
//! Main function: [`prometheus`]. No secret is in any of its messages, nor what was typed where one
//! would stand.

use std::net::ToSocketAddrs;
use std::time::Duration;

use base64::Engine as _;
use reqwest::Url;

use crate::cli::{MetricNamesArg, PrometheusArgs};
use crate::plan::Secret;
use crate::plan::problem::{Place, Problem};
use crate::plan::prometheus::{
    Destination, MetricNames, PUSH_INTERVAL, PrometheusSpec, QuerySpec, is_label_name, matchers,
};

/// The variables of one destination: user, password, token.
type Variables = [&'static str; 3];

const OF_PROMETHEUS: Variables = [
    "BENCH_CI_PROMETHEUS_USERNAME",
    "BENCH_CI_PROMETHEUS_PASSWORD",
    "BENCH_CI_PROMETHEUS_BEARER_TOKEN",
];
const OF_REMOTE_WRITE: Variables = [
    "BENCH_CI_REMOTE_WRITE_USERNAME",
    "BENCH_CI_REMOTE_WRITE_PASSWORD",
    "BENCH_CI_REMOTE_WRITE_BEARER_TOKEN",
];
const OF_PUSHGATEWAY: Variables = [
    "BENCH_CI_PUSHGATEWAY_USERNAME",
    "BENCH_CI_PUSHGATEWAY_PASSWORD",
    "BENCH_CI_PUSHGATEWAY_BEARER_TOKEN",
];

/// Variables whose values must not be read in a log.
pub(crate) const SECRET_VARIABLES: [&str; 6] = [
    OF_PROMETHEUS[1],
    OF_PROMETHEUS[2],
    OF_REMOTE_WRITE[1],
    OF_REMOTE_WRITE[2],
    OF_PUSHGATEWAY[1],
    OF_PUSHGATEWAY[2],
];

/// Labels that our metrics use themselves.
const TAKEN_LABELS: [&str; 4] = ["le", "kind", "phase", "quantile"];

/// Where a remote write goes if only the server is named.
const WRITE_PATH: &str = "/api/v1/write";

/// The least that is waited between two pushes: more would be load of its own.
const SHORTEST_PUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The part of the plan that the flags ask for; what is wrong with them goes to `problems`.
pub(super) fn prometheus(
    args: &PrometheusArgs,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> PrometheusSpec {
    let mut destination = |flag, typed: &Option<String>, variables| {
        let typed = typed.as_deref()?;
        match destination(typed, variables, variable) {
            Ok(destination) => Some(destination),
            Err((message, hint)) => {
                problems.push(Problem::new(Place::Flag(flag), message).hinting(hint));
                None
            }
        }
    };
    let asked = destination("--prometheus", &args.prometheus, OF_PROMETHEUS);
    let mut remote_write =
        destination("--prometheus-remote-write", &args.prometheus_remote_write, OF_REMOTE_WRITE);
    let pushgateway = destination("--pushgateway", &args.pushgateway, OF_PUSHGATEWAY);
    if let Some(at) = &mut remote_write
        && Url::parse(&at.url).is_ok_and(|url| url.path() == "/" && url.query().is_none())
    {
        at.url.push_str(WRITE_PATH);
    }
    let mut asked_matchers = Vec::new();
    if let Some(typed) = &args.prometheus_match {
        match matchers(typed) {
            Ok(found) => asked_matchers = found,
            Err(why) => problems.push(
                Problem::new(
                    Place::Flag("--prometheus-match"),
                    format!("invalid value \"{typed}\": {why}"),
                )
                .hinting("write it as PromQL does, such as 'instance=\"host:8080\",job=\"llama\"'"),
            ),
        }
    }
    let serve =
        args.serve_metrics.as_deref().and_then(|typed| match address(typed) {
            Ok(address) => Some(address),
            Err(why) => {
                let message = format!("invalid value \"{typed}\": {why}");
                problems.push(Problem::new(Place::Flag("--serve-metrics"), message).hinting(
                    "write it as 127.0.0.1:9464, or :9464 for every address of this machine",
                ));
                None
            }
        });
    let push_interval = args.push_interval.unwrap_or(PUSH_INTERVAL);
    if push_interval < SHORTEST_PUSH_INTERVAL {
        problems.push(Problem::new(
            Place::Flag("--push-interval"),
            format!("{} s is too short: the least is 0.1s", push_interval.as_secs_f64()),
        ));
    }
    let spec = PrometheusSpec {
        query: asked.map(|at| QuerySpec { at, matchers: asked_matchers }),
        serve,
        remote_write,
        pushgateway,
        names: match args.metric_names {
            Some(MetricNamesArg::K6) => MetricNames::K6,
            Some(MetricNamesArg::BenchCi) | None => MetricNames::BenchCi,
        },
        labels: labels(&args.metric_labels, problems),
        push_interval,
    };
    let of_nothing = [
        ("--metric-names", args.metric_names.is_some()),
        ("--metric-label", !args.metric_labels.is_empty()),
        ("--push-interval", args.push_interval.is_some()),
    ];
    let asks_to_publish = [&args.serve_metrics, &args.prometheus_remote_write, &args.pushgateway]
        .iter()
        .any(|flag| flag.is_some());
    for (flag, _) in of_nothing.into_iter().filter(|(_, given)| *given && !asks_to_publish) {
        problems.push(Problem::new(Place::Flag(flag), "it is of metrics that go nowhere").hinting(
            "add --serve-metrics, --prometheus-remote-write or --pushgateway, or leave it out",
        ));
    }
    spec
}

/// What is wrong, and what to do.
type Refusal = (String, &'static str);

fn destination(
    typed: &str,
    variables: Variables,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Destination, Refusal> {
    const WRITE_IT_SO: &str = "write it as http://host:port, or https://host/path";
    let text = typed.trim();
    // What is typed may hold a password even where it is no address, so none of it is shown.
    let has_scheme = ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme)));
    if !has_scheme {
        return Err((
            "the address does not begin with http:// or https://".to_owned(),
            WRITE_IT_SO,
        ));
    }
    let url = Url::parse(text).map_err(|error| (format!("no address: {error}"), WRITE_IT_SO))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "a user and password in the address would be read in lists of processes".to_owned(),
            "put them into the variables that `bench-ci help environment` names",
        ));
    }
    if url.fragment().is_some() {
        return Err(("the address has a #fragment".to_owned(), WRITE_IT_SO));
    }
    let url = url.as_str().trim_end_matches('/').to_owned();
    Ok(Destination { url, authorization: authorization(variables, variable)? })
}

/// The header that the variables make.
fn authorization(
    variables: Variables,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, Refusal> {
    let given = |name| {
        variable(name).map(|value| value.trim_end().to_owned()).filter(|value| !value.is_empty())
    };
    let [user, password, token] = variables.map(given);
    let value = match (user, password, token) {
        (None, None, None) => return Ok(None),
        (None, None, Some(token)) => format!("Bearer {token}"),
        (Some(user), password, None) => {
            let pair = format!("{user}:{}", password.unwrap_or_default());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        (None, Some(_), None) => {
            return Err((
                format!("{} is set, and {} is not", variables[1], variables[0]),
                "set both, or neither",
            ));
        }
        (_, _, Some(_)) => {
            return Err((
                format!("{} is set, and a user or password too", variables[2]),
                "only one of them can be sent: unset the others",
            ));
        }
    };
    if reqwest::header::HeaderValue::try_from(value.as_str()).is_err() {
        return Err((
            format!("what {} or {} holds cannot be sent in a header", variables[0], variables[2]),
            "is it one line, without quotes?",
        ));
    }
    Ok(Some(Secret::new(value)))
}

/// `host:port`, with a host where none was typed.
fn address(typed: &str) -> Result<String, String> {
    let text = typed.trim();
    if text.contains("://") {
        return Err("it is a URL; an address is a host and a port".to_owned());
    }
    let text = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    let port = text.rsplit_once(':').map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err("it ends in no port".to_owned());
    }
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or("its host has no address")?;
    Ok(text)
}

fn labels(typed: &[String], problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for label in typed {
        let why = match label.split_once('=') {
            None => Some("no NAME=VALUE".to_owned()),
            Some((name, _)) if !is_label_name(name) || name.starts_with("__") => {
                Some(format!("\"{name}\" is no name of a label"))
            }
            Some((name, _)) if TAKEN_LABELS.contains(&name) => {
                Some(format!("the label \"{name}\" is taken"))
            }
            Some((name, _)) if labels.iter().any(|(known, _)| known == name) => {
                Some(format!("the label \"{name}\" is named twice"))
            }
            Some(("job", "")) => Some("a job has a name".to_owned()),
            Some((name, value)) => {
                labels.push((name.to_owned(), value.to_owned()));
                None
            }
        };
        if let Some(why) = why {
            problems.push(
                Problem::new(Place::Flag("--metric-label"), why)
                    .hinting("write it as --metric-label testid=42"),
            );
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &PrometheusArgs, set: &[(&str, &str)]) -> Result<PrometheusSpec, Vec<String>> {
        let variable = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut problems = Vec::new();
        let spec = prometheus(args, &variable, &mut problems);
        if problems.is_empty() {
            return Ok(spec);
        }
        Err(problems.iter().map(|problem| format!("{problem} {:?}", problem.hint)).collect())
    }

    fn asking(url: &str) -> PrometheusArgs {
        PrometheusArgs { prometheus: Some(url.to_owned()), ..PrometheusArgs::default() }
    }

    #[test]
    fn nothing_typed_is_nothing_planned() {
        assert_eq!(read(&PrometheusArgs::default(), &[]), Ok(PrometheusSpec::default()));
    }

    #[test]
    fn addresses_lose_their_slash_and_a_bare_server_gets_the_path_of_remote_write() {
        let args = PrometheusArgs {
            prometheus_remote_write: Some("http://h:9090/".to_owned()),
            pushgateway: Some("https://h/push/".to_owned()),
            ..asking("http://h:9090/prometheus/")
        };
        let spec = read(&args, &[]).expect("a plan");
        assert_eq!(spec.query.expect("asked").at.url, "http://h:9090/prometheus");
        assert_eq!(spec.remote_write.expect("written").url, "http://h:9090/api/v1/write");
        assert_eq!(spec.pushgateway.expect("pushed").url, "https://h/push");
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for typed in [
            "",
            "host:9090",
            "ftp://h",
            "http://",
            "http://u:hidden@h",
            "u:hidden@h",
            "http://h/#x",
        ] {
            let problems = read(&asking(typed), &[]).expect_err(typed);
            assert!(problems[0].starts_with("--prometheus: "), "{problems:?}");
            assert!(!problems[0].contains("hidden"), "{problems:?}");
        }
    }

    #[test]
    fn each_destination_has_secrets_of_its_own() {
        let args = PrometheusArgs {
            pushgateway: Some("http://h:9091".to_owned()),
            prometheus_remote_write: Some("http://h:9090".to_owned()),
            ..asking("http://h:9090")
        };
        let set = [
            ("BENCH_CI_PROMETHEUS_BEARER_TOKEN", "tok\n"),
            ("BENCH_CI_PUSHGATEWAY_USERNAME", "me"),
            ("BENCH_CI_PUSHGATEWAY_PASSWORD", "it"),
        ];
        let spec = read(&args, &set).expect("a plan");
        let shown = format!("{spec:?} {}", serde_json::to_string(&spec).expect("JSON"));
        let of = |at: Option<Destination>| {
            at.expect("asked").authorization.map(|secret| secret.expose().to_owned())
        };
        assert_eq!(of(spec.query.map(|query| query.at)).as_deref(), Some("Bearer tok"));
        assert_eq!(of(spec.pushgateway).as_deref(), Some("Basic bWU6aXQ="));
        assert_eq!(of(spec.remote_write), None);
        assert!(!shown.contains("tok\"") && !shown.contains("bWU6aXQ"), "{shown}");
    }

    #[test]
    fn secrets_that_contradict_one_another_are_refused() {
        for set in [
            &[("BENCH_CI_PROMETHEUS_PASSWORD", "hidden")][..],
            &[
                ("BENCH_CI_PROMETHEUS_USERNAME", "u"),
                ("BENCH_CI_PROMETHEUS_BEARER_TOKEN", "hidden"),
            ],
            &[("BENCH_CI_PROMETHEUS_BEARER_TOKEN", "hid\nhidden")],
        ] {
            let problems = read(&asking("http://h"), set).expect_err("refused");
            assert!(!problems[0].contains("hidden"), "{problems:?}");
        }
    }

    #[test]
    fn an_address_to_serve_at_has_a_port() {
        for (typed, expected) in [
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            (":9464", Some("0.0.0.0:9464")),
            ("[::1]:9464", Some("[::1]:9464")),
            ("127.0.0.1", None),
            ("9464", None),
            ("http://127.0.0.1:1", None),
            ("127.0.0.1:99999", None),
            ("no such host:80", None),
        ] {
            let args = PrometheusArgs {
                serve_metrics: Some(typed.to_owned()),
                ..PrometheusArgs::default()
            };
            let found = read(&args, &[]).ok().and_then(|spec| spec.serve);
            assert_eq!(found.as_deref(), expected, "{typed}");
        }
    }

    #[test]
    fn labels_are_checked_and_flags_of_nothing_refused() {
        let labelled = |labels: &[&str]| PrometheusArgs {
            pushgateway: Some("http://h".to_owned()),
            metric_labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..PrometheusArgs::default()
        };
        let spec = read(&labelled(&["job=x", "a=b=c"]), &[]).expect("labels");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(spec.labels, [pair("job", "x"), pair("a", "b=c")]);
        for wrong in ["a", "=b", "a-b=c", "__a=b", "le=1", "job="] {
            assert!(read(&labelled(&[wrong]), &[]).is_err(), "{wrong}");
        }
        assert!(read(&labelled(&["a=b", "a=c"]), &[]).is_err());
        let alone =
            PrometheusArgs { metric_names: Some(MetricNamesArg::K6), ..PrometheusArgs::default() };
        assert!(read(&alone, &[]).is_err());
    }
}
