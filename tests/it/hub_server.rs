//! A Hub on the loopback: speaks what the real one speaks for model files, and fails on request.
//!
//! Main types: [`HubServer`], with a log of every request, and [`Behaviour`], what it does wrong.
//! Two ports: the Hub itself, and the storage that it redirects large files to, so that a token
//! that leaks to the storage is seen. It runs on threads of its own and needs no runtime, so a
//! test can drive the whole binary against it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

/// The commit that every revision of every repository stands for.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the Hub does other than it should. The default does everything right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Requests for files are refused, this often.
    pub(crate) refuse: Option<Refusal>,
    /// Only GET requests for files are refused.
    pub(crate) refuse_get_only: bool,
    /// Without this token files are refused with 401.
    pub(crate) token: Option<String>,
    /// The storage serves these bytes, while the Hub announces the right ones.
    pub(crate) served: Option<Vec<u8>>,
    /// A body ends after so many bytes, this often; the length header says otherwise.
    pub(crate) cut_after_bytes: Option<(u64, u32)>,
    /// Added to the length header of a body.
    pub(crate) length_lie: u64,
    /// Files are served by the Hub itself, with 200 to HEAD.
    pub(crate) no_redirect: bool,
    /// Bodies are chunked, with no length header.
    pub(crate) chunked: bool,
    /// Ranges are ignored.
    pub(crate) no_ranges: bool,
    /// There is no `/api`.
    pub(crate) no_api: bool,
    /// Refusals have no `X-Error-Code`.
    pub(crate) no_error_codes: bool,
    /// Files announce Xet storage, which does not exist.
    pub(crate) xet: bool,
    /// The etag is a git hash, not a digest.
    pub(crate) git_etags: bool,
    /// `X-Linked-Size` says this.
    pub(crate) announced_bytes: Option<u64>,
    /// Neither commit nor etag are sent, as by a web server that is no Hub.
    pub(crate) no_hub_headers: bool,
    /// Connections are accepted and never answered.
    pub(crate) hang: bool,
    /// HEAD and GET of this repository are redirected to its new name, as after a renaming.
    pub(crate) renamed: Option<(String, String)>,
}

/// How a request is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// `X-Error-Code`; empty for none.
    pub(crate) code: &'static str,
    /// `X-Error-Message`; empty for none.
    pub(crate) message: String,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// How many requests are refused before all is well.
    pub(crate) times: u32,
}

impl Refusal {
    /// Refuses for ever.
    pub(crate) fn always(status: u16, code: &'static str) -> Self {
        Self { status, code, message: String::new(), retry_after: None, times: u32::MAX }
    }
}

/// A request as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// `hub` or `storage`.
    pub(crate) at: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) status: u16,
    /// Of the body.
    pub(crate) sent_bytes: u64,
}

#[derive(Default)]
struct State {
    /// By `OWNER/NAME` and path.
    files: BTreeMap<(String, String), Vec<u8>>,
    behaviour: Behaviour,
    log: Vec<Logged>,
}

struct Shared {
    state: Mutex<State>,
    storage: SocketAddr,
    stopping: AtomicBool,
}

/// The running server; it stops when dropped.
pub(crate) struct HubServer {
    shared: Arc<Shared>,
    hub: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl HubServer {
    /// A Hub with no repositories.
    pub(crate) fn start() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let (hub_listener, storage_listener) = (listen(), listen());
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let hub = address(&hub_listener);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            storage: address(&storage_listener),
            stopping: AtomicBool::new(false),
        });
        let threads = [(hub_listener, "hub"), (storage_listener, "storage")]
            .into_iter()
            .map(|(listener, at)| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || accept(&listener, at, &shared))
            })
            .collect();
        Self { shared, hub, threads }
    }

    /// For `HF_ENDPOINT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Puts a file into a repository, which exists from then on.
    pub(crate) fn add(&self, repo: &str, path: &str, bytes: &[u8]) {
        self.state().files.insert((repo.to_owned(), path.to_owned()), bytes.to_vec());
    }

    /// Misbehaves like this from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// All requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut self.state().log)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("no thread panics while it holds the state")
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for address in [self.hub, self.shared.storage] {
            // Wakes the thread that waits for a connection.
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
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            // A client that goes away is its own affair.
            std::thread::spawn(move || drop(answer(stream, at, &shared)));
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

fn read_request(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let path = path.split('?').next().unwrap_or_default();
    Ok(Some(Request { method: method.to_owned(), path: unescaped(path), headers }))
}

/// Percent-decodes, but keeps `%2F`, which divides a revision from a path.
fn unescaped(path: &str) -> String {
    path.replace("%20", " ").replace("%23", "#")
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    chunked: bool,
    length_lie: u64,
    /// The body really ends here.
    cut_after_bytes: Option<u64>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            chunked: false,
            length_lie: 0,
            cut_after_bytes: None,
        }
    }

    fn refusal(status: u16, code: &str, message: &str) -> Self {
        let body = format!("{{\"error\":\"{}\"}}", if message.is_empty() { code } else { message });
        let mut reply = Self::new(status, body);
        if !code.is_empty() {
            reply.headers.push(("X-Error-Code", code.to_owned()));
        }
        if !message.is_empty() {
            reply.headers.push(("X-Error-Message", message.to_owned()));
        }
        reply
    }
}

fn answer(mut stream: TcpStream, at: &'static str, shared: &Shared) -> std::io::Result<()> {
    let Some(request) = read_request(&stream)? else { return Ok(()) };
    let (reply, hang) = {
        let mut state = shared.state.lock().expect("no thread panics while it holds the state");
        let reply = match at {
            "hub" => hub_reply(&request, &mut state, shared.storage),
            _ => storage_reply(&request, &mut state),
        };
        let body_bytes = if request.method == "HEAD" { 0 } else { reply.body.len() as u64 };
        state.log.push(Logged {
            at,
            method: request.method.clone(),
            path: request.path.clone(),
            range: request.headers.get("range").cloned(),
            authorization: request.headers.get("authorization").cloned(),
            status: reply.status,
            sent_bytes: reply.cut_after_bytes.map_or(body_bytes, |cut| cut.min(body_bytes)),
        });
        (reply, state.behaviour.hang)
    };
    if hang {
        // Until the client gives up and closes.
        let mut rest = String::new();
        return BufReader::new(stream).read_line(&mut rest).map(drop);
    }
    send(&mut stream, &request, &reply)
}

fn send(stream: &mut TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n").expect("writing to a String cannot fail");
    }
    let length = reply.body.len() as u64 + reply.length_lie;
    if reply.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else {
        write!(head, "Content-Length: {length}\r\n\r\n").expect("writing to a String cannot fail");
    }
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let end = reply.cut_after_bytes.unwrap_or(u64::MAX).min(reply.body.len() as u64) as usize;
    for chunk in reply.body[..end].chunks(64 << 10) {
        if reply.chunked {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
        }
        stream.write_all(chunk)?;
        if reply.chunked {
            stream.write_all(b"\r\n")?;
        }
    }
    if reply.chunked && reply.cut_after_bytes.is_none() {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

fn hub_reply(request: &Request, state: &mut State, storage: SocketAddr) -> Reply {
    if let Some(api) = request.path.strip_prefix("/api/models/") {
        return api_reply(api, state);
    }
    let path = request.path.trim_start_matches('/');
    if let Some((old, new)) = &state.behaviour.renamed
        && let Some(rest) = path.strip_prefix(&format!("{old}/"))
    {
        let mut reply = Reply::new(307, "");
        reply.headers.push(("Location", format!("/{new}/{rest}")));
        return reply;
    }
    let Some((repo, rest)) = path.split_once("/resolve/") else {
        return Reply::new(404, "Not Found");
    };
    let Some((revision, file)) = rest.split_once('/') else {
        return Reply::new(404, "Not Found");
    };

    if let Some(token) = &state.behaviour.token
        && request.headers.get("authorization") != Some(&format!("Bearer {token}"))
    {
        return Reply::refusal(401, "", "Invalid credentials in Authorization header");
    }
    let counts = !state.behaviour.refuse_get_only || request.method == "GET";
    if counts
        && let Some(refusal) = &mut state.behaviour.refuse
        && refusal.times > 0
    {
        refusal.times -= 1;
        let mut reply = Reply::refusal(refusal.status, refusal.code, &refusal.message);
        if let Some(seconds) = refusal.retry_after {
            reply.headers.push(("Retry-After", seconds.to_string()));
        }
        return reply;
    }

    let missing = |code: &'static str| {
        Reply::refusal(404, if state.behaviour.no_error_codes { "" } else { code }, "")
    };
    if !state.files.keys().any(|(known, _)| known == repo) {
        return missing("RepoNotFound");
    }
    if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
        return missing("RevisionNotFound");
    }
    let Some(bytes) = state.files.get(&(repo.to_owned(), file.to_owned())) else {
        return missing("EntryNotFound");
    };

    let etag = etag(bytes, &state.behaviour);
    let size = state.behaviour.announced_bytes.unwrap_or(bytes.len() as u64);
    let mut headers = Vec::new();
    if !state.behaviour.no_hub_headers {
        headers.push(("X-Repo-Commit", COMMIT.to_owned()));
        headers.push(("X-Linked-Etag", format!("\"{etag}\"")));
        headers.push(("X-Linked-Size", size.to_string()));
        headers.push(("ETag", format!("\"{etag}\"")));
    }
    if state.behaviour.xet {
        headers.push(("X-Xet-Hash", etag));
    }
    if state.behaviour.no_redirect {
        let key = (repo.to_owned(), file.to_owned());
        let mut reply = body_reply(request, &key, state);
        reply.headers.extend(headers);
        return reply;
    }
    headers.push(("Location", format!("http://{storage}/{repo}/{file}?signature=secret")));
    let mut reply = Reply::new(302, "Found. Redirecting");
    reply.headers = headers;
    reply
}

fn api_reply(api: &str, state: &State) -> Reply {
    if state.behaviour.no_api {
        return Reply::new(404, "Not Found");
    }
    let (repo, revision) = api.split_once("/revision/").unwrap_or((api, "main"));
    let files: Vec<&str> = state
        .files
        .keys()
        .filter(|(known, _)| known == repo)
        .map(|(_, path)| path.as_str())
        .collect();
    if files.is_empty() {
        return Reply::refusal(404, "RepoNotFound", "Repository not found");
    }
    if !["main", COMMIT].contains(&revision) {
        return Reply::refusal(404, "RevisionNotFound", "Invalid rev id");
    }
    let siblings: Vec<_> =
        files.iter().map(|path| serde_json::json!({ "rfilename": path })).collect();
    let info = serde_json::json!({ "_id": "1", "id": repo, "modelId": repo, "sha": COMMIT,
        "private": false, "gated": false, "siblings": siblings });
    let mut reply = Reply::new(200, info.to_string());
    reply.headers.push(("Content-Type", "application/json".to_owned()));
    reply
}

fn storage_reply(request: &Request, state: &mut State) -> Reply {
    // Like the real storage, which signs its addresses for GET alone.
    if request.method == "HEAD" {
        return Reply::new(403, "");
    }
    let path = request.path.trim_start_matches('/');
    let depth = if path.starts_with("datasets/") { 3 } else { 2 };
    let (at, _) = path.match_indices('/').nth(depth - 1).unwrap_or((path.len(), ""));
    let (repo, file) = path.split_at(at);
    let key = (repo.to_owned(), file.trim_start_matches('/').to_owned());
    body_reply(request, &key, state)
}

/// The file's bytes, or a part of them, or what the behaviour makes of them.
fn body_reply(request: &Request, key: &(String, String), state: &mut State) -> Reply {
    let Some(bytes) = state.files.get(key) else {
        return Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>");
    };
    let bytes = state.behaviour.served.as_ref().unwrap_or(bytes);
    let total = bytes.len() as u64;
    let range = request.headers.get("range").filter(|_| !state.behaviour.no_ranges);
    let first: Option<u64> =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let mut reply = match first {
        Some(first) if first >= total => {
            let mut reply = Reply::new(416, "");
            reply.headers.push(("Content-Range", format!("bytes */{total}")));
            return reply;
        }
        Some(first) => {
            let mut reply = Reply::new(206, &bytes[first as usize..]);
            let last = total - 1;
            reply.headers.push(("Content-Range", format!("bytes {first}-{last}/{total}")));
            reply
        }
        None => Reply::new(200, bytes.as_slice()),
    };
    reply.chunked = state.behaviour.chunked;
    reply.length_lie = state.behaviour.length_lie;
    if request.method == "GET"
        && let Some((after, times)) = &mut state.behaviour.cut_after_bytes
        && *times > 0
    {
        *times -= 1;
        reply.cut_after_bytes = Some(*after);
    }
    reply
}

fn etag(bytes: &[u8], behaviour: &Behaviour) -> String {
    let digest = sha256(bytes);
    if behaviour.git_etags { digest[..40].to_owned() } else { digest }
}

/// In lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}
