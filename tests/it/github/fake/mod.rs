//! A GitHub on the loopback: enforces what the real one does about tokens, pages, lengths and limits,
//! and fails on request.
//!
//! Main type: [`FakeGithub`]. Two ports: the API, and the storage that it redirects downloads to, so
//! that a token that leaks to the storage is seen. It runs on threads of its own, so that a test can
//! drive several whole binaries against it at once.

mod answer;
mod routes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

pub(crate) use answer::Reply;

/// The repository that there is.
pub(crate) const REPOSITORY: &str = "ggml-org/llama.cpp";

/// Whose a token is, and what it may do.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// Such as `github-actions[bot]`.
    pub(crate) login: String,
    /// An app's token may not ask who it is, and it alone may make check runs.
    pub(crate) is_app: bool,
    /// Without it everything but reading is refused with 403.
    pub(crate) may_write: bool,
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) number: u64,
    pub(crate) login: String,
    pub(crate) body: String,
}

/// An artifact of a run.
#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    pub(crate) id: u64,
    pub(crate) run: u64,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What the list says it has.
    pub(crate) announced_bytes: u64,
    pub(crate) expired: bool,
}

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) method: &'static str,
    /// Found in the path.
    pub(crate) path: &'static str,
    /// How often; then all is well.
    pub(crate) times: u32,
    pub(crate) what: Wrong,
}

/// In which way.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// This is answered, and nothing done.
    Answer(Reply),
    /// It is done, and then this is answered.
    DoneBut(Reply),
    /// The connection is closed without an answer.
    HangUp,
    /// It is done, and then the connection is closed.
    DoneButHangUp,
}

/// A request as it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// `api` or `storage`.
    pub(crate) at: &'static str,
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
    pub(crate) status: u16,
}

/// Everything that it knows.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) pulls: Vec<Value>,
    pub(crate) runs: BTreeMap<u64, Value>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) statuses: Vec<(String, Value)>,
    pub(crate) checks: Vec<Value>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) log: Vec<Logged>,
    /// The first lists of comments are answered together, once so many have been asked for.
    pub(crate) meet: usize,
    /// The first lists of comments show none, as a replica that lags behind does.
    pub(crate) lagging_lists: u32,
    /// There is no GraphQL.
    pub(crate) no_graphql: bool,
    arrived: usize,
    last_id: u64,
}

impl World {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        1_000 + self.last_id
    }

    pub(crate) fn add_comment(&mut self, number: u64, login: &str, body: &str) -> u64 {
        let id = self.next_id();
        let (login, body) = (login.to_owned(), body.to_owned());
        self.comments.push(Comment { id, number, login, body });
        id
    }

    pub(crate) fn add_artifact(&mut self, run: u64, name: &str, bytes: Vec<u8>) -> u64 {
        let id = self.next_id();
        let announced_bytes = bytes.len() as u64;
        let name = name.to_owned();
        self.artifacts.push(Artifact { id, run, name, bytes, announced_bytes, expired: false });
        id
    }

    /// Requests of this method, by path.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.log.iter().filter(|said| said.method == method && said.path.contains(path)).count()
    }
}

struct Shared {
    world: Mutex<World>,
    all_here: Condvar,
    /// `/api/v3` of an Enterprise Server, or nothing.
    prefix: &'static str,
    storage: SocketAddr,
    stopping: AtomicBool,
}

/// The running server; it stops when dropped.
pub(crate) struct FakeGithub {
    shared: Arc<Shared>,
    api: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

/// The token of a job, which may write.
pub(crate) const JOB_TOKEN: &str = "ghs_jobsowntoken0123456789";
/// The token of a job of a fork's pull request.
pub(crate) const READING_TOKEN: &str = "ghs_readonlytoken0123456789";
/// The token of a person.
pub(crate) const PERSONAL_TOKEN: &str = "ghp_personaltoken0123456789";

impl FakeGithub {
    /// github.com, with three tokens and nothing else.
    pub(crate) fn start() -> Self {
        Self::with_prefix("")
    }

    /// An Enterprise Server.
    pub(crate) fn enterprise() -> Self {
        Self::with_prefix("/api/v3")
    }

    fn with_prefix(prefix: &'static str) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let (api_listener, storage_listener) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let api = address(&api_listener);
        let mut world = World::default();
        for (token, login, is_app, may_write) in [
            (JOB_TOKEN, "github-actions[bot]", true, true),
            (READING_TOKEN, "github-actions[bot]", true, false),
            (PERSONAL_TOKEN, "ann", false, true),
        ] {
            let login = login.to_owned();
            world.tokens.insert(token.to_owned(), Token { login, is_app, may_write });
        }
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            all_here: Condvar::new(),
            prefix,
            storage: address(&storage_listener),
            stopping: AtomicBool::new(false),
        });
        let threads = [(api_listener, "api"), (storage_listener, "storage")]
            .into_iter()
            .map(|(listener, at)| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || accept(&listener, at, &shared))
            })
            .collect();
        Self { shared, api, threads }
    }

    /// For `GITHUB_API_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.api, self.shared.prefix)
    }

    /// What it knows, to look at and to change.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().expect("no thread of the server has panicked")
    }

    /// Makes something go wrong.
    pub(crate) fn fail(&self, method: &'static str, path: &'static str, times: u32, what: Wrong) {
        self.world().faults.push(Fault { method, path, times, what });
    }
}

impl Drop for FakeGithub {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for address in [self.api, self.shared.storage] {
            // Wakes the thread that accepts; if nobody listens any more, all is well.
            drop(TcpStream::connect(address));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, at: &'static str, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away is no failure of the server.
            drop(serve(stream, at, &shared));
        });
    }
}

/// A request as it arrived.
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Without query.
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    whole_path: String,
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let url = reqwest::Url::parse(&format!("http://x{target}")).expect("a target is a path");
    Ok(Some(Asked {
        method: method.to_owned(),
        path: url.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        headers,
        body: String::from_utf8(body).expect("JSON is UTF-8"),
        whole_path: target.to_owned(),
    }))
}

fn serve(mut stream: TcpStream, at: &'static str, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let Some(asked) = read(&stream)? else { return Ok(()) };
    let reply = if at == "storage" {
        let mut world = shared.world.lock().expect("no thread has panicked");
        let reply = routes::storage(&mut world, &asked);
        note(&mut world, at, &asked, &reply);
        Some(reply)
    } else {
        let seen = routes::wait_for_the_others(shared, &asked);
        let mut world = shared.world.lock().expect("no thread has panicked");
        let fault = world
            .faults
            .iter_mut()
            .find(|fault| {
                fault.times > 0
                    && fault.method == asked.method
                    && asked.whole_path.contains(fault.path)
            })
            .map(|fault| {
                fault.times -= 1;
                fault.what.clone()
            });
        let mut really = || routes::api(&mut world, shared, &asked, seen.clone());
        let reply = match fault {
            None => Some(really()),
            Some(Wrong::Answer(reply)) => Some(reply),
            Some(Wrong::DoneBut(reply)) => {
                really();
                Some(reply)
            }
            Some(Wrong::HangUp) => None,
            Some(Wrong::DoneButHangUp) => {
                really();
                None
            }
        };
        note(&mut world, at, &asked, reply.as_ref().unwrap_or(&Reply::empty(0)));
        reply
    };
    match reply {
        Some(reply) => stream.write_all(&reply.bytes(&asked.method)),
        None => Ok(()),
    }
}

fn note(world: &mut World, at: &'static str, asked: &Asked, reply: &Reply) {
    world.log.push(Logged {
        at,
        method: asked.method.clone(),
        path: asked.whole_path.clone(),
        authorization: asked.headers.get("authorization").cloned(),
        body: asked.body.clone(),
        status: reply.status,
    });
}
