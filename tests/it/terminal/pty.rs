//! A terminal of the test's own: the program on one side, a screen and a keyboard on the other.
//!
//! Main type: [`Terminal`].

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::libc;
use nix::pty::{Winsize, openpty};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Higher than anything that is shown.
const ROWS: NonZero<u16> = NonZero::new(60).unwrap();

fn wide(columns: u16) -> NonZero<u16> {
    NonZero::new(columns).unwrap()
}

/// The program in a terminal.
pub(super) struct Terminal {
    folder: tempfile::TempDir,
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
    begun: Instant,
}

/// What came out of it.
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    screen: vt100::Parser,
}

impl Seen {
    /// The screen as text, without the blanks at the ends of lines and of the screen.
    pub(super) fn text(&self) -> String {
        let (_, columns) = self.screen.screen().size();
        let rows = self.screen.screen().rows(0, columns.get());
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned() + "\n"
    }

    /// No line was longer than the terminal is wide.
    pub(super) fn assert_nothing_wraps(&self) {
        let screen = self.screen.screen();
        for row in 0..screen.size().0.get() {
            assert!(!screen.row_wrapped(row), "row {row} wraps:\n{}", self.text());
        }
    }

    /// The last picture is gone, and the cursor is where a shell expects it.
    pub(super) fn assert_nothing_is_left_of_the_view(&self) {
        let text = self.text();
        for leftover in ["deltas/s", "━", "─", "⠋", "⠹", "in flight ·"] {
            assert!(!text.contains(leftover), "{leftover} is left:\n{text}");
        }
        let screen = self.screen.screen();
        assert!(!screen.hide_cursor() && !screen.alternate_screen(), "{text}");
        assert_eq!(screen.cursor_position().1, 0, "a prompt begins a line:\n{text}");
    }
}

impl Terminal {
    /// Starts `bench-ci` with these arguments in a terminal of so many columns. Of the environment it
    /// has `PATH` and what is given.
    pub(super) fn start(columns: u16, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = Winsize { ws_row: ROWS.get(), ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let slave = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BENCH_CI_CACHE", folder.path().join("cache"))
            // The screen of these tests does not break lines anew when it becomes narrower.
            .env("TERM", "vt220")
            .envs(variables.iter().copied())
            .stdin(slave(&pty.slave))
            .stdout(slave(&pty.slave))
            .stderr(slave(&pty.slave));
        #[expect(
            unsafe_code,
            reason = "only between fork and exec can a terminal become the child's own"
        )]
        // SAFETY: both calls are safe after a fork, and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop((command, pty.slave));
        let keyboard = File::from(pty.master);
        let seen = Seen { bytes: Vec::new(), screen: vt100::Parser::new(ROWS, wide(columns), 0) };
        let seen = Arc::new(Mutex::new(seen));
        let (mut output, showing) = (keyboard.try_clone().unwrap(), Arc::clone(&seen));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux says EIO, others nothing at all, once nobody has the other side any more.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut seen = showing.lock().unwrap();
                seen.bytes.extend_from_slice(&buffer[..count]);
                seen.screen.process(&buffer[..count]);
            }
        });
        Self { folder, child, keyboard, seen, reader: Some(reader), begun: Instant::now() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(super) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    pub(super) fn resize(&mut self, columns: u16) {
        let size = Winsize { ws_row: ROWS.get(), ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let mut seen = self.seen.lock().unwrap();
        #[expect(unsafe_code, reason = "nix has no call that sets a size")]
        // SAFETY: the size lives longer than the call, which only reads it.
        let done =
            unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
        seen.screen.screen_mut().set_size(ROWS, wide(columns));
    }

    /// Waits until the screen shows this.
    pub(super) fn until(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        loop {
            let text = self.seen().text();
            if shows(&text) {
                return text;
            }
            assert!(self.begun.elapsed() < PATIENCE, "{what} was never shown:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the file is there.
    pub(super) fn until_there(&self, path: &Path) {
        while !path.exists() {
            assert!(self.begun.elapsed() < PATIENCE, "{} is not there", path.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end of the program and of what it shows: exit code and seconds.
    pub(super) fn end(&mut self) -> (Option<i32>, f64) {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.begun.elapsed() < PATIENCE, "no end:\n{}", self.seen().text());
            std::thread::sleep(Duration::from_millis(20));
        };
        let took = self.begun.elapsed().as_secs_f64();
        self.reader.take().unwrap().join().unwrap();
        (status.code(), took)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
