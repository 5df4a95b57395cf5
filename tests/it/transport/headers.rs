//! Times in response headers: in the rows as they came, in the report as figures.

use super::load;
use super::servers::{Http2Server, Manner};
use crate::run::Bench;

#[test]
fn headers_that_tell_times_are_in_the_rows_and_the_report() {
    let (bench, server) = (Bench::new(), Http2Server::start(Manner::Frames(1 << 14), None));
    let ran =
        load(&bench, "out", &format!("http://{}", server.address), 4, &["--http2"]).checked(0);
    for row in ran.rows() {
        assert_eq!(row["server_headers"]["server-timing"], "work;dur=12.5", "{row}");
        assert_eq!(row["server_headers"]["x-request-id"], "seven", "{row}");
        assert!(row["server_headers"]["content-type"].is_null(), "{row}");
    }
    let figures = &ran.report()["server_headers"];
    assert_eq!(figures["server-timing:work"]["count"], 4, "{figures}");
    assert_eq!(figures["server-timing:work"]["p50"], 12.5, "{figures}");
    assert!(figures["x-request-id"].is_null(), "{figures}");
    assert!(ran.file("report.md").contains("`server-timing:work`"), "{}", ran.file("report.md"));
}
