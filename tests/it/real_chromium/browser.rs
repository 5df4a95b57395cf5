//! A real Chromium without a window, driven by its DevTools protocol over two pipes: no port, no
//! network, no library.
//!
//! Main type: [`Browser`]. It notes whatever a page complains of or asks for.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};

/// Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    to: File,
    messages: Receiver<Value>,
    next: u64,
    session: Option<String>,
    loaded: bool,
    /// Errors on the console, exceptions, dialogs, and whatever was asked of a network.
    complaints: Vec<String>,
    folder: tempfile::TempDir,
}

impl Browser {
    pub(super) fn start() -> Self {
        let program = std::env::var("BENCH_CI_TEST_CHROMIUM").expect(
            "BENCH_CI_TEST_CHROMIUM is not set: `cargo xtask chromium` finds it and prints it",
        );
        let folder = tempfile::tempdir().unwrap();
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        let said = File::create(folder.path().join("stderr.txt")).unwrap();
        // The protocol is spoken on descriptors 3 and 4, which a shell can set.
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$TO\" 4>\"$FROM\"", &program])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("about:blank")
            .env("TO", &to)
            .env("FROM", &from)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .process_group(0)
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let mut from = BufReader::new(File::open(from).unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if send.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to,
            messages,
            next: 0,
            session: None,
            loaded: false,
            complaints: Vec::new(),
            folder,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let flat = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", flat);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// The result of a command of the protocol.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let said = std::fs::read_to_string(self.folder.path().join("stderr.txt"));
            panic!("Chromium says nothing: {error}\n{}", said.unwrap_or_default())
        });
        let parameters = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Page.loadEventFired") => {
                self.loaded = true;
                false
            }
            Some("Runtime.exceptionThrown" | "Page.javascriptDialogOpening") => true,
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
            Some("Log.entryAdded") => ["error", "warning"]
                .map(|level| json!(level))
                .contains(&parameters["entry"]["level"]),
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("file:///") || parameters["type"] != "Document"
            }
            _ => false,
        };
        if complaint {
            self.complaints.push(message.to_string());
        }
        message
    }

    /// Opens a file and waits until it is loaded and has drawn.
    pub(super) fn open(&mut self, page: &Path) {
        self.loaded = false;
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.loaded {
            self.receive();
        }
        self.settle();
    }

    /// Waits for what is drawn in the next frames.
    pub(super) fn settle(&mut self) {
        let frames = "new Promise((done) => { let left = 4; const next = () => { left -= 1; \
                      if (left > 0) requestAnimationFrame(next); else done(1); }; next(); })";
        self.ask(frames);
    }

    /// The value of an expression, or of its promise.
    pub(super) fn ask(&mut self, expression: &str) -> Value {
        let found = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(found.get("exceptionDetails").is_none(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// A page of this width, as tall as a screen.
    pub(super) fn resize(&mut self, width: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
        );
        self.settle();
    }

    /// What the page is shown on, and in which colours the system is.
    pub(super) fn emulate(&mut self, media: &str, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"media": media, "features": [feature]}));
        self.settle();
    }

    pub(super) fn press(&mut self, key: &str, text: Option<&str>) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key});
            if let (Some(text), "keyDown") = (text, kind) {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
        self.settle();
    }

    /// From one point to another with the button held, in pixels of what is seen.
    pub(super) fn drag(&mut self, from: [f64; 2], to: [f64; 2]) {
        for (kind, [x, y]) in [
            ("mouseMoved", from),
            ("mousePressed", from),
            ("mouseMoved", [(from[0] + to[0]) / 2.0, to[1]]),
            ("mouseMoved", to),
            ("mouseReleased", to),
        ] {
            let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
        self.settle();
    }

    /// Keeps a picture of the whole page in the folder of test results, and says where.
    pub(super) fn picture(&mut self, name: &str) -> PathBuf {
        let taken = self.call(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true}),
        );
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(taken["data"].as_str().unwrap())
            .unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-html");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own group: the helpers of a browser end with it.
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        if killpg(group, Signal::SIGKILL).is_ok() {
            drop(self.child.wait());
        }
    }
}
