//! git's smart protocol over HTTP, for libgit2, by the client that the rest of bench-ci uses.
//!
//! Main function: [`speak`]. libgit2's own would need OpenSSL beside rustls. The token goes into a
//! header of requests to the one server that it is for, and never into a URL or a message.

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use reqwest::Url;

use super::remote::Credentials;
use super::store::{HistoryError, git};

/// The largest answer that is read; a history is a few megabytes.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// How long one exchange may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Makes libgit2 speak to http and https addresses. The credentials of the first call are kept.
pub(super) fn speak(credentials: &Credentials) -> Result<(), HistoryError> {
    static SPOKEN: OnceLock<Result<(), String>> = OnceLock::new();
    let outcome = SPOKEN.get_or_init(|| register(credentials).map_err(|error| error.to_string()));
    outcome
        .clone()
        .map_err(|error| git("prepare the way to the remote")(git2::Error::from_str(&error)))
}

fn register(credentials: &Credentials) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder()
        .user_agent(concat!("git/2.0 (bench-ci ", env!("CARGO_PKG_VERSION"), ")"))
        .connect_timeout(Duration::from_secs(30))
        .timeout(LIMIT)
        .build()?;
    let way = Arc::new(Way { runtime, client, credentials: credentials.clone() });
    for prefix in ["http", "https"] {
        let way = Arc::clone(&way);
        let factory = move |remote: &git2::Remote<'_>| {
            Transport::smart(remote, true, Http { way: Arc::clone(&way) })
        };
        #[expect(
            unsafe_code,
            reason = "libgit2 wants no other thread to make transports meanwhile"
        )]
        // SAFETY: this runs once, inside the `OnceLock` that everybody passes who opens a remote.
        unsafe {
            git2::transport::register(prefix, factory)?;
        }
    }
    Ok(())
}

struct Way {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    credentials: Credentials,
}

impl Way {
    /// Whether the token is for this address: the same scheme, host and port as GitHub's own.
    fn is_trusted(&self, url: &Url) -> bool {
        Url::parse(&self.credentials.server).is_ok_and(|server| server.origin() == url.origin())
    }
}

struct Http {
    way: Arc<Way>,
}

impl SmartSubtransport for Http {
    fn action(
        &self,
        url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let (path, asks) = match service {
            Service::UploadPackLs => ("/info/refs?service=git-upload-pack", false),
            Service::UploadPack => ("/git-upload-pack", true),
            Service::ReceivePackLs => ("/info/refs?service=git-receive-pack", false),
            Service::ReceivePack => ("/git-receive-pack", true),
        };
        let url = Url::parse(&format!("{}{path}", url.trim_end_matches('/')))
            .map_err(|error| git2::Error::from_str(&format!("the address is none: {error}")))?;
        Ok(Box::new(Exchange {
            way: Arc::clone(&self.way),
            url,
            asks,
            question: Vec::new(),
            answer: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer: what is written is sent as soon as something is read.
struct Exchange {
    way: Arc<Way>,
    url: Url,
    asks: bool,
    question: Vec<u8>,
    answer: Option<Cursor<Vec<u8>>>,
}

impl Exchange {
    fn ask(&mut self) -> Result<Vec<u8>, String> {
        let service = self.url.path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut request = if self.asks {
            self.way
                .client
                .post(self.url.clone())
                .header("Content-Type", format!("application/x-{service}-request"))
                .header("Accept", format!("application/x-{service}-result"))
                .body(std::mem::take(&mut self.question))
        } else {
            self.way.client.get(self.url.clone())
        };
        if let Some(token) = &self.way.credentials.token
            && self.way.is_trusted(&self.url)
        {
            request = request.basic_auth("x-access-token", Some(token.expose()));
        }
        let host = self.url.host_str().unwrap_or_default().to_owned();
        self.way.runtime.block_on(async {
            // `without_url`: an address may carry a password.
            let failed = |error: reqwest::Error| {
                let error = error.without_url();
                let mut words = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(inner) = cause {
                    words.push_str(&format!(": {inner}"));
                    cause = inner.source();
                }
                words
            };
            let mut response = request.send().await.map_err(failed)?;
            let status = response.status();
            if !status.is_success() {
                let meaning = match status.as_u16() {
                    401 | 403 => ", it does not accept our token or wants one",
                    404 => ", there is no such repository, or it is hidden from us",
                    _ => "",
                };
                return Err(format!("\"{host}\" answers {status}{meaning}"));
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(format!("\"{host}\" answers with more than a history can be"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        })
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.question.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.answer.is_none() {
            let answer = self.ask().map_err(std::io::Error::other)?;
            self.answer = Some(Cursor::new(answer));
        }
        match &mut self.answer {
            Some(answer) => answer.read(into),
            None => Ok(0),
        }
    }
}
