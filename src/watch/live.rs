//! The live view of a terminal: what is done now, in place; what is done stays above it.
//!
//! Main type: [`LiveView`]. Events only change what is to be shown. A thread of its own draws it, a few
//! times a second however many events there are: a terminal that is slow, or held by Ctrl-S, holds up
//! nobody but that thread.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::scene::Scene;
use super::screen::{Row, Screen};
use crate::event::{Event, Listener};

/// Between two pictures. Each costs some tens of microseconds, so that this is a thousandth of a core.
const BETWEEN: Duration = Duration::from_millis(200);

/// A gap so long means that the process was stopped and went on, and that a shell has written since.
const STOPPED: Duration = Duration::from_secs(3);

/// Shows the stage that goes on, or the load with its figures, and removes it when it is dropped.
#[derive(Debug)]
pub struct LiveView {
    shared: Arc<Shared>,
    painter: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    scene: Mutex<Scene>,
    /// Held while the terminal is written to, and never together with `scene`.
    screen: Mutex<Screen>,
    closed: AtomicBool,
    /// A panic's message is on the screen, which is left alone from then on.
    aside: AtomicBool,
    /// Wakes the painter for its last picture.
    bell: (Mutex<()>, Condvar),
}

impl LiveView {
    /// Draws on stderr. With `verbose`, the server's log scrolls by above the view.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        let colours = console::colors_enabled_stderr();
        let shared = Arc::new(Shared {
            scene: Mutex::new(Scene::new(verbose, Instant::now())),
            screen: Mutex::new(Screen::new(colours, reflows())),
            closed: AtomicBool::new(false),
            aside: AtomicBool::new(false),
            bell: Default::default(),
        });
        let painting = Arc::clone(&shared);
        let painter = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || painting.paint_until_closed());
        step_aside_for_panics(&shared);
        // Without a thread there is nothing to see, and the run goes on.
        Self { shared, painter: painter.ok() }
    }
}

impl Listener for LiveView {
    fn on_event(&self, event: &Event) {
        self.shared
            .scene
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(event, Instant::now());
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(painter) = self.painter.take() {
            // It has only drawn; if it panicked, the message has been seen.
            drop(painter.join());
        }
    }
}

impl Shared {
    fn close(&self) {
        let (bell, rung) = &self.bell;
        let _ringing = bell.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        rung.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn paint_until_closed(&self) {
        let mut last = Instant::now();
        loop {
            let (bell, rung) = &self.bell;
            let waiting = bell.lock().unwrap_or_else(PoisonError::into_inner);
            let woken = rung.wait_timeout_while(waiting, BETWEEN, |()| !self.is_closed());
            drop(woken);
            if self.aside.load(Ordering::Acquire) {
                return;
            }
            let is_last = self.is_closed();
            let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() > STOPPED {
                screen.forget();
            }
            self.paint(&mut screen);
            last = Instant::now();
            if is_last {
                return;
            }
        }
    }

    /// One picture; once it is closed, the last one: what stays, and nothing below it.
    fn paint(&self, screen: &mut Screen) {
        let size = console::Term::stderr().size();
        let size = (usize::from(size.0), usize::from(size.1));
        let now = Instant::now();
        let (above, rows): (Vec<Row>, Vec<Row>) = {
            let mut scene = self.scene.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = if self.is_closed() { Vec::new() } else { scene.rows(size.1, now) };
            (scene.drain(size.1), rows)
        };
        let frame = screen.frame(size, &above, rows);
        let mut terminal = std::io::stderr().lock();
        // A terminal that is gone must not end the measurement.
        drop(terminal.write_all(frame.as_bytes()).and_then(|()| terminal.flush()));
    }
}

/// A panic's message is for reading: the view makes room for it, and does not come back.
fn step_aside_for_panics(shared: &Arc<Shared>) {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |about| {
        if let Some(shared) = weak.upgrade()
            && !shared.closed.swap(true, Ordering::AcqRel)
        {
            // Whoever holds them may be the one that panics.
            let is_free = shared.scene.try_lock().is_ok();
            if let (true, Ok(mut screen)) = (is_free, shared.screen.try_lock()) {
                shared.paint(&mut screen);
            }
            shared.aside.store(true, Ordering::Release);
        }
        usual(about);
    }));
}

/// Whether this terminal breaks its lines anew when it becomes narrower. Nearly all do that are not
/// hardware, or made as if they were.
fn reflows() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    let is_screen = term.starts_with("screen") && std::env::var_os("TMUX").is_none();
    !(is_screen || term.starts_with("vt") || term == "linux")
}
