//! The flags of what goes to Prometheus and comes from it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::plan::duration;

/// Prometheus, in and out.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Prometheus (a password goes into a variable: help environment)")]
pub struct PrometheusArgs {
    /// After the load, ask this Prometheus for the server's metrics during it
    ///
    /// Its base address, such as http://127.0.0.1:9090. The series are put beside our own scrape and
    /// compared with it. Where it does not answer, the run is the same without.
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// Which instance is meant, such as 'instance="host:8080"'
    ///
    /// Label matchers of PromQL. Not needed where Prometheus scrapes only one llama-server, or this
    /// server under the address of --url.
    #[arg(long, value_name = "MATCHERS", requires = "prometheus")]
    pub prometheus_match: Option<String>,
    /// Serve our own metrics at http://ADDR/metrics while the run lasts
    ///
    /// Such as 127.0.0.1:9464; :9464 is every address of this machine, port 0 a free one. In OpenMetrics
    /// or Prometheus' text format, as the asker prefers.
    #[arg(long, value_name = "ADDR")]
    pub serve_metrics: Option<String>,
    /// Write our own metrics to this Prometheus while the run lasts
    ///
    /// By its remote write protocol: http://127.0.0.1:9090/api/v1/write, of a Prometheus that was started
    /// with --web.enable-remote-write-receiver, or Mimir, Thanos, VictoriaMetrics.
    #[arg(long, value_name = "URL")]
    pub prometheus_remote_write: Option<String>,
    /// Put our own metrics into this Pushgateway, such as http://127.0.0.1:9091
    #[arg(long, value_name = "URL")]
    pub pushgateway: Option<String>,
    /// What our own metrics are called [default: bench-ci]
    #[arg(long, value_name = "WHOSE", value_enum)]
    pub metric_names: Option<MetricNamesArg>,
    /// A further label of our own metrics; may be repeated
    ///
    /// job (bench-ci) and instance (the machine's label) are set where metrics are pushed, unless they
    /// are named here. They and these are the Pushgateway's group.
    #[arg(long = "metric-label", value_name = "NAME=VALUE")]
    pub metric_labels: Vec<String>,
    /// Time between two pushes [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub push_interval: Option<Duration>,
}

/// What our own metrics are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MetricNamesArg {
    /// bench_ci_ttft_seconds and so on, with histograms
    #[value(name = "bench-ci")]
    BenchCi,
    /// k6_http_req_duration_p99 and so on, as k6's Prometheus output has them
    K6,
}
