//! Pushing: to a repository beside ours, and over HTTP to git's own server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Place, said};

/// Each writer has a clone of its own, as jobs on many runners do.
fn clones(place: &Place, count: u32, url: &str) -> Vec<PathBuf> {
    let clone = |index: u32| {
        let folder = place.path(&format!("clone{index}"));
        let repository = git2::Repository::init(&folder).unwrap();
        repository.remote("origin", url).unwrap();
        folder
    };
    (0..count).map(clone).collect()
}

#[test]
fn twenty_clones_that_push_at_once_lose_nothing() {
    let place = Place::new();
    let remote = place.path("repository.git");
    let writers: Vec<_> = clones(&place, 20, remote.to_str().unwrap())
        .into_iter()
        .zip(0..)
        .map(|(folder, writer)| {
            let report = place.report(&format!("run{writer}"), 'a', 1 + writer, 100.0);
            let mut command =
                place.command(&folder, &["append", "--push", "origin", report.to_str().unwrap()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut lines = place.lines(&remote);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 20);
}

#[test]
fn what_was_appended_on_both_sides_is_joined_and_fetched() {
    let place = Place::new();
    let remote = place.path("repository.git");
    let clones = clones(&place, 3, remote.to_str().unwrap());
    let append = |folder: &Path, run: &str, more: &[&str]| {
        let report = place.report(run, 'a', 3, 100.0);
        let words = [&["append", report.to_str().unwrap()], more].concat();
        let done = place.history_in(folder, &words);
        assert_eq!(done.exit, 0, "{done:?}");
    };
    append(&clones[0], "one", &["--push"]);
    append(&clones[1], "two", &[]);
    append(&clones[1], "three", &["--push", "origin"]);
    append(&clones[0], "four", &["--push"]);
    assert_eq!(place.lines(&remote).len(), 4);
    let fresh = place.history_in(&clones[2], &["check", "--fetch", "--fail-on", "never"]);
    assert!(fresh.stdout.contains("4 points"), "{fresh:?}");
    assert!(!clones[2].join(".git/FETCH_HEAD").exists());
}

#[test]
fn what_is_written_in_a_fresh_clone_goes_behind_what_was_cloned() {
    let place = Place::new();
    let origin = place.path("repository.git");
    let append = |folder: &Path, run: &str, day: u32| {
        let report = place.report(run, 'a', day, 100.0);
        let done = place.history_in(folder, &["append", report.to_str().unwrap()]);
        assert_eq!(done.exit, 0, "{done:?}");
        done.stdout
    };
    append(&origin, "one", 1);
    append(&origin, "two", 2);
    // A branch besides the history, as every repository has: the clone checks that one out.
    let bare = git2::Repository::open(&origin).unwrap();
    let author = git2::Signature::now("a", "a@example.org").unwrap();
    let tree = bare.find_tree(bare.treebuilder(None).unwrap().write().unwrap()).unwrap();
    bare.commit(Some("refs/heads/main"), &author, &author, "code", &tree, &[]).unwrap();
    bare.set_head("refs/heads/main").unwrap();
    let clone = |name: &str| {
        let folder = place.path(name);
        git2::Repository::clone(origin.to_str().unwrap(), &folder).unwrap();
        folder
    };

    let appended = clone("appended");
    assert!(append(&appended, "two", 2).starts_with("0 points appended"), "it is there already");
    assert!(append(&appended, "three", 3).starts_with("1 point appended"));
    assert_eq!(place.lines(&appended).len(), 3);
    let repository = git2::Repository::open(&appended).unwrap();
    let mut walk = repository.revwalk().unwrap();
    walk.push_ref("refs/heads/bench-ci-history").unwrap();
    assert_eq!(walk.count(), 3, "in one line with the commits of the remote");

    let annotated = clone("annotated");
    let done = place.history_in(&annotated, &["annotate", "--reason", "a new compiler"]);
    assert_eq!(done.exit, 0, "{done:?}");
    assert_eq!(place.lines(&annotated).len(), 2);
}

#[test]
fn a_push_that_fails_keeps_the_point_and_says_so() {
    let place = Place::new();
    let report = place.report("run", 'a', 3, 100.0);
    let report = report.to_str().unwrap();
    let unreachable = "https://me:s3cret@127.0.0.1:1/a.git";
    for remote in ["origin", "./nowhere.git", unreachable] {
        let done = place.history(&["append", report, "--push", remote]);
        assert_eq!(done.exit, 8, "{done:?}");
        assert!(done.stderr.contains("is kept in the branch"), "{done:?}");
        assert!(!done.stderr.contains("s3cret"), "{done:?}");
    }
    assert_eq!(place.lines(&place.path("repository.git")).len(), 1);
}

#[test]
fn over_http_the_token_goes_to_its_server_alone_and_nothing_is_lost() {
    const TOKEN: &str = "ghs_0123456789";
    let place = Place::new();
    let remote = place.path("repository.git");
    git2::Repository::open(&remote)
        .unwrap()
        .config()
        .unwrap()
        .set_bool("http.receivepack", true)
        .unwrap();
    let server = GitServer::start(remote.parent().unwrap(), TOKEN);
    let url = format!("{}/repository.git", server.address);
    let clones = clones(&place, 6, &url);
    let append = |folder: &Path, run: u32, token: Option<&str>, trusted: &str| {
        let report = place.report(&format!("run{run}"), 'a', 1 + run, 100.0);
        let mut command = place.command(folder, &["append", report.to_str().unwrap(), "--push"]);
        command.env("GITHUB_SERVER_URL", trusted);
        // The proxy of a workplace must not come between.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(token) = token {
            command.env("GITHUB_TOKEN", token);
        }
        command
    };

    let refused = said(append(&clones[0], 0, None, &server.address));
    assert_eq!(refused.exit, 8, "{refused:?}");
    assert!(refused.stderr.contains("401"), "{refused:?}");
    assert!(refused.stderr.contains("GITHUB_TOKEN"), "{refused:?}");
    let stranger = said(append(&clones[0], 0, Some(TOKEN), "https://github.com"));
    assert_eq!(stranger.exit, 8, "{stranger:?}");
    assert!(!stranger.stderr.contains(TOKEN));
    assert!(server.seen().iter().all(Option::is_none), "the token went to a stranger");

    let writers: Vec<_> = clones
        .iter()
        .zip(0..)
        .map(|(folder, run)| {
            let mut command = append(folder, run, Some(TOKEN), &server.address);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
    }
    let mut lines = place.lines(&remote);
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 6);
    // What git leaves behind in the clones holds no token either.
    let config = std::fs::read_to_string(clones[0].join(".git/config")).unwrap();
    assert!(!config.contains(TOKEN));
}

/// git's own `http-backend` behind a small server that wants a token.
pub(crate) struct GitServer {
    pub(crate) address: String,
    /// The `Authorization` of each request.
    authorizations: Arc<Mutex<Vec<Option<String>>>>,
}

impl GitServer {
    pub(crate) fn start(root: &Path, token: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let authorizations = Arc::new(Mutex::new(Vec::new()));
        let (root, seen) = (root.to_owned(), Arc::clone(&authorizations));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, seen) = (root.clone(), Arc::clone(&seen));
                std::thread::spawn(move || answer(&stream, &root, token, &seen));
            }
        });
        Self { address, authorizations }
    }

    fn seen(&self) -> Vec<Option<String>> {
        self.authorizations.lock().unwrap().clone()
    }
}

fn answer(
    stream: &TcpStream,
    root: &Path,
    token: &str,
    seen: &Mutex<Vec<Option<String>>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let authorization = headers.get("authorization").cloned();
        seen.lock().unwrap().push(authorization.clone());
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut out = stream;
        // x-access-token:TOKEN in base 64, as GitHub wants it.
        let wanted = format!("Basic {}", base64(format!("x-access-token:{token}").as_bytes()));
        if authorization.as_deref() != Some(&wanted) {
            out.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", method)
            .env("REMOTE_USER", "x-access-token")
            .env("CONTENT_TYPE", headers.get("content-type").map_or("", String::as_str))
            .env("CONTENT_LENGTH", body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sent = child.stdin.take().unwrap().write_all(&body);
        let output = child.wait_with_output().unwrap().stdout;
        sent.ok()?;
        let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        let status =
            head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        let rest: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
        let content = &output[end + 4..];
        let head = format!(
            "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\n\r\n",
            rest.join("\r\n"),
            content.len()
        );
        out.write_all(head.as_bytes()).ok()?;
        out.write_all(content).ok()?;
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .map(|three| {
            let bits = (0..3).fold(0_u32, |bits, place| {
                (bits << 8) | u32::from(three.get(place).copied().unwrap_or(0))
            });
            (0..4)
                .map(|place| match place > three.len() {
                    true => '=',
                    false => DIGITS[(bits >> (18 - 6 * place)) as usize & 63] as char,
                })
                .collect::<String>()
        })
        .collect()
}
