//! The faults that end an answer early, or break it on its way.

use super::super::clock::now_ns;
use super::super::connection::Ending;
use super::super::fault::FaultKind;
use super::super::http::Response;
use super::super::render;
use super::super::truth::TruthEnd;
use super::{Job, Step};

impl Job {
    /// Carries out the fault that was due after so many tokens; `None` where none is due.
    pub(super) fn pull_trigger(&mut self) -> Option<Step> {
        let (kind, after) = self.trigger?;
        if self.made < after.min(self.answer.tokens) {
            return None;
        }
        self.trigger = None;
        self.write_out();
        self.flush_tail();
        self.record.end_ns = now_ns();
        if !self.generation.stream {
            return Some(self.break_whole(kind));
        }
        match kind {
            FaultKind::NotJson => {
                let mut payload = Vec::new();
                self.frame.event(&mut payload, &[r#"{"choices":[{"delta":{"content":"#]);
                self.write_chunk(&payload);
                self.record.end_ns = 0;
                return None;
            }
            FaultKind::HangMid => {
                self.hung = true;
                return Some(Step::Hung);
            }
            FaultKind::ErrorInStream => {
                let mut payload = Vec::new();
                self.frame.event(
                    &mut payload,
                    &[&render::error_json(500, "server_error", "simulated failure")],
                );
                self.write_chunk(&payload);
                self.write_plain(render::LAST_CHUNK);
            }
            FaultKind::Cut => self.write_plain(render::LAST_CHUNK),
            FaultKind::CutRaw => self.write_plain(b"1fe\r\ndata: {\"choices\":[{\"finish"),
            FaultKind::BadChunkSize => self.write_plain(b"zz\r\ndata: {}\n\n\r\n"),
            _ => {}
        }
        let reset = kind == FaultKind::Reset;
        self.wire.end(if reset { Ending::Reset } else { Ending::Close });
        Some(Step::Over(TruthEnd::Broken))
    }

    /// The same faults on an answer that is not streamed.
    fn break_whole(&mut self, kind: FaultKind) -> Step {
        match kind {
            FaultKind::HangMid => {
                self.hung = true;
                return Step::Hung;
            }
            FaultKind::ErrorInStream => {
                self.respond(&Response::error(500, "server_error", "simulated failure"));
            }
            FaultKind::NotJson => self.respond(&Response::json(r#"{"choices":[{"#.to_owned())),
            FaultKind::Cut | FaultKind::CutRaw => {
                self.write_plain(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{");
            }
            FaultKind::BadChunkSize => {
                self.write_plain(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
                );
            }
            _ => {}
        }
        let reset = kind == FaultKind::Reset;
        self.wire.end(if reset { Ending::Reset } else { Ending::Close });
        Step::Over(TruthEnd::Broken)
    }
}
