//! The ways to a server, through the real binary: TLS, HTTP/2, Unix sockets, proxies; the same work
//! over each of them, and every way in which one of them fails.
//!
//! Main types: [`Authority`], which makes certificates, and the servers in [`servers`].

mod failures;
mod headers;
mod real_llama_server;
mod same_work;
mod servers;

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use crate::run::{Bench, Ran};

/// A CA of its own, with files of what it signed.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files in PEM.
struct Signed {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a CA of the tests");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The file for `--cacert`.
    fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// A certificate for these names.
    fn sign(&self, names: &[&str]) -> Signed {
        self.sign_until(names, 2200)
    }

    fn sign_until(&self, names: &[&str], year: i32) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = format!("{}-{year}", names.join("+"));
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let own = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&own, &self.issuer).unwrap();
        let signed = Signed {
            certificate: self.folder.path().join(format!("{stem}.pem")),
            key: self.folder.path().join(format!("{stem}.key")),
        };
        std::fs::write(&signed.certificate, certificate.pem()).unwrap();
        std::fs::write(&signed.key, own.serialize_pem()).unwrap();
        signed
    }
}

/// A load of so many requests at `url`, of fixed length. A starved client is no failure here.
fn load(bench: &Bench, out: &str, url: &str, requests: u32, more: &[&str]) -> Ran {
    load_of(bench, out, &["--url", url], requests, more)
}

fn load_of(bench: &Bench, out: &str, server: &[&str], requests: u32, more: &[&str]) -> Ran {
    let requests = requests.to_string();
    let fixed = [
        "--scenario",
        "brisk.toml",
        "--n-prompts",
        &requests,
        "--users",
        "4",
        "--max-lateness",
        "1000",
        "--max-client-delay",
        "1000",
    ];
    bench.run(out, &[server, &fixed, more].concat())
}
