//! The same binary on both sides of a real comparison.

use super::{Session, report};
use crate::run::real_server;

#[test]
fn the_real_llama_server_has_not_regressed_against_itself() {
    let session = Session::new();
    let server = real_server();
    let ran = session.run(&[
        "--aa",
        "--server",
        &server,
        "--model",
        "synthetic",
        "--parallel",
        "2",
        "--ctx-size",
        "2048",
        "--budget",
        "45s",
        "--pairs",
        "7",
    ]);
    // Too noisy to tell, or spoilt: both may be. Slower than itself it must not be.
    assert!([0, 5].contains(&ran.exit), "{}: {}", ran.exit, ran.stderr);
    let report = report(&ran);
    assert_ne!(report["verdict"], "regressed", "{}", ran.stderr);
    assert_eq!(report["sides"]["base"]["kind"], "llama-server");
    assert!(report["trials"].as_array().unwrap().len() >= 2, "{}", ran.stderr);
    assert_eq!(report["sides"]["base"]["output_tokens"], report["sides"]["head"]["output_tokens"]);
}
