//! Keeps everything that a server writes, and remembers its last and its telling lines.
//!
//! Main type: [`Log`]. One thread reads one pipe, to which the child's standard output and standard
//! error both go, so that their order is kept; what it reads goes to the file line by line, unchanged but for
//! the keys that the child is asked with, and to everybody else without what looks like a secret too. Memory
//! is bounded however much the child writes. It does not judge what it reads, except to remember lines
//! that [`super::cause`] knows, which a flood (a whole usage text, say) would otherwise push out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::event::{Event, Events};
use crate::plan::Secret;

use super::cause;
use super::command::without_secrets;

/// Lines that are remembered from the end of the log.
const LAST_LINES: usize = 50;

/// Telling lines that are remembered wherever they stood.
const TELLING_LINES: usize = 8;

/// Longer lines are cut in memory (never in the file).
const LINE_BYTES: usize = 500;

/// A line that is longer goes to the file in pieces.
const PIECE_BYTES: usize = 64 * 1024;

/// Shorter secrets are words, and taking them out would garble the log.
const LEAST_SECRET_BYTES: usize = 4;

/// How long what is left in the pipe may take once the server is gone. Reached only if a process
/// that left the server's group still holds the pipe and keeps writing.
const DRAIN: Duration = Duration::from_secs(2);

/// What is remembered of a log; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    telling: Vec<String>,
    write_error: Option<String>,
}

impl Tail {
    /// The last lines, oldest first, at most `count`, blank ones left out.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lock();
        lines.last.iter().skip(lines.last.len().saturating_sub(count)).cloned().collect()
    }

    /// Lines that name a cause: the telling ones from anywhere, then the remembered end.
    pub(super) fn telling(&self) -> Vec<String> {
        let lines = self.lock();
        lines.telling.clone()
    }

    /// Why the file is not complete, if it is not.
    pub(super) fn write_error(&self) -> Option<String> {
        self.lock().write_error.clone()
    }

    fn push(&self, line: &str) {
        let mut lines = self.lock();
        if lines.last.len() == LAST_LINES {
            lines.last.pop_front();
        }
        lines.last.push_back(line.to_owned());
        if lines.telling.len() < TELLING_LINES && cause::of_line(line).is_some() {
            lines.telling.push(line.to_owned());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading thread of one child.
pub(super) struct Log {
    /// Closing it tells the thread that the child is gone.
    alive: Option<PipeWriter>,
    finished: mpsc::Receiver<()>,
}

impl Log {
    /// Begins to read `pipe` into `file`; each line is also told to `events`, if given. None of `secrets`
    /// gets anywhere.
    ///
    /// # Errors
    /// If the thread or its pipe cannot be made.
    pub(super) fn start(
        pipe: PipeReader,
        file: File,
        tail: Tail,
        events: Option<Events>,
        mut secrets: Vec<Secret>,
    ) -> std::io::Result<Self> {
        // Of one that begins with another nothing must be left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        let (gone, alive) = std::io::pipe()?;
        let (done, finished) = mpsc::channel();
        std::thread::Builder::new().name("server-log".to_owned()).spawn(move || {
            Copy { file, tail, events, secrets, unwritten: Vec::new(), line: Vec::new() }
                .run(pipe, &gone);
            // Nobody listens if the server was dropped.
            let _dropped = done.send(());
        })?;
        Ok(Self { alive: Some(alive), finished })
    }

    /// The child is gone: takes what is left in the pipe, and waits until it is in the file.
    pub(super) fn finish(mut self) {
        drop(self.alive.take());
        // Longer than the thread itself takes at most, so an error means only that it ended.
        let _ended_already = self.finished.recv_timeout(DRAIN * 2);
    }
}

struct Copy {
    file: File,
    tail: Tail,
    events: Option<Events>,
    secrets: Vec<Secret>,
    /// The beginning of a line whose end has not come.
    unwritten: Vec<u8>,
    /// As much of the line as is remembered.
    line: Vec<u8>,
}

impl Copy {
    fn run(mut self, mut pipe: PipeReader, gone: &PipeReader) {
        let mut buffer = vec![0; 64 * 1024];
        let mut drain_until = None;
        loop {
            let wait = if drain_until.is_some() { PollTimeout::ZERO } else { PollTimeout::NONE };
            let mut fds = [
                PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(gone.as_fd(), PollFlags::POLLIN),
            ];
            // The second is only of use until it has said its one thing.
            let watched = if drain_until.is_some() { 1 } else { 2 };
            match poll(&mut fds[..watched], wait) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => break,
                // Drained, and nobody of ours is left to write more.
                Ok(0) => break,
                Ok(_) => {}
            }
            let readable = fds[0].any().unwrap_or(false);
            if watched == 2 && fds[1].any().unwrap_or(false) {
                drain_until = Some(std::time::Instant::now() + DRAIN);
            }
            if readable {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => self.take(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            if drain_until.is_some_and(|until| std::time::Instant::now() > until) {
                break;
            }
        }
        let rest = std::mem::take(&mut self.unwritten);
        self.write(&rest);
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    /// Whole lines at once, since a secret may come in two pieces.
    fn take(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', &self.unwritten) {
            Some(end) => end + 1,
            None if self.unwritten.len() >= PIECE_BYTES => self.unwritten.len(),
            None => return,
        };
        let rest = self.unwritten.split_off(whole);
        let lines = std::mem::replace(&mut self.unwritten, rest);
        self.write(&lines);
    }

    fn write(&mut self, read: &[u8]) {
        let bytes = without(&self.secrets, read);
        // A full disk must not stop the reading: a child that cannot write would stop serving.
        if let Err(error) = self.file.write_all(&bytes) {
            self.tail.lock().write_error.get_or_insert_with(|| error.to_string());
        }
        let mut rest = &bytes[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.append(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.append(rest);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let text = without_secrets(&readable(&self.line));
        self.line.clear();
        if text.is_empty() {
            return;
        }
        self.tail.push(&text);
        if let Some(events) = &self.events {
            events.send(&Event::ServerLog { line: text });
        }
    }
}

/// The bytes with `***` in place of each secret.
fn without<'a>(secrets: &[Secret], bytes: &'a [u8]) -> Cow<'a, [u8]> {
    let mut shown = Cow::Borrowed(bytes);
    for secret in secrets.iter().map(|secret| secret.expose().as_bytes()) {
        if secret.len() < LEAST_SECRET_BYTES || memchr::memmem::find(&shown, secret).is_none() {
            continue;
        }
        let mut left = Vec::with_capacity(shown.len());
        let mut from = 0;
        for at in memchr::memmem::find_iter(&shown, secret) {
            left.extend_from_slice(&shown[from..at]);
            left.extend_from_slice(b"***");
            from = at + secret.len();
        }
        left.extend_from_slice(&shown[from..]);
        shown = Cow::Owned(left);
    }
    shown
}

/// The line without colours and control characters, which a terminal would obey.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            // A control sequence ends with a letter (or another byte from @ to ~).
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        } else if c == '\t' {
            plain.push(' ');
        } else if !c.is_control() {
            plain.push(c);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(written: &[u8]) -> (Tail, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("server.log");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let tail = Tail::default();
        let file = File::create(&path).expect("a file");
        let secrets = vec![Secret::new("sk-of-a-user".to_owned())];
        let log = Log::start(reader, file, tail.clone(), None, secrets).expect("a thread");
        // In pieces, as a pipe hands on what is long or was not written at once.
        for piece in written.chunks(7_000) {
            writer.write_all(piece).expect("the thread reads");
        }
        drop(writer);
        log.finish();
        (tail, std::fs::read(&path).expect("written"))
    }

    #[test]
    fn a_key_that_the_server_repeats_is_quoted_nowhere() {
        let (tail, _file) = logged(b"error: invalid argument: --api-key=s3cret (see --help)\n");
        assert_eq!(tail.last(9), ["error: invalid argument: --api-key=*** (see --help)"]);
        assert!(tail.telling().iter().all(|line| !line.contains("s3cret")));
    }

    #[test]
    fn the_key_that_it_is_asked_with_is_in_no_line_and_not_in_the_file() {
        let mut written = b"argv ['--api-key', 'sk-of-a-user']\n".to_vec();
        written.extend_from_slice(&[b'.'; 6_960]);
        // Across the end of a piece, and where no line ends.
        written.extend_from_slice(b"Bearer sk-of-a-user,sk-of-a-user");
        let (tail, file) = logged(&written);
        let text = String::from_utf8(file).expect("as written");
        assert!(!text.contains("sk-of"), "{text}");
        assert!(text.starts_with("argv ['--api-key', '***']\n.") && text.ends_with("***,***"));
        assert_eq!(tail.last(2)[0], "argv ['--api-key', '***']");
    }

    #[test]
    fn the_file_is_exact_and_the_tail_is_readable() {
        let written = b"one\n\x1b[31mtwo\x1b[0m\r\n\nthree \xff\nlast without end";
        let (tail, file) = logged(written);
        assert_eq!(file, written);
        assert_eq!(tail.last(99), ["one", "two", "three \u{fffd}", "last without end"]);
        assert_eq!(tail.last(1), ["last without end"]);
    }

    #[test]
    fn a_flood_is_kept_in_the_file_and_bounded_in_memory() {
        let mut written = b"error: unknown argument: --foo\n".to_vec();
        for index in 0..20_000 {
            written.extend_from_slice(format!("usage line {index}\n").as_bytes());
        }
        written.extend_from_slice(&vec![b'x'; 1_000_000]);
        let (tail, file) = logged(&written);
        assert_eq!(file.len(), written.len());
        let last = tail.last(usize::MAX);
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last[LAST_LINES - 1].len(), LINE_BYTES);
        assert_eq!(tail.telling(), ["error: unknown argument: --foo"]);
    }

    #[test]
    fn a_stranger_that_holds_the_pipe_does_not_hold_us() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let tail = Tail::default();
        let file = File::create(folder.path().join("server.log")).expect("a file");
        let secrets = vec![Secret::new("sk-of-a-user".to_owned())];
        let log = Log::start(reader, file, tail.clone(), None, secrets).expect("a thread");
        writer.write_all(b"before\n").expect("the thread reads");
        log.finish();
        assert_eq!(tail.last(9), ["before"]);
        drop(writer);
    }
}
