//! The writes of an answer and their stamps, whole or taken apart by a fault.

use super::super::clock::now_ns;
use super::super::fault::FaultKind;
use super::super::render;
use super::{Job, STAMP_DIGITS};

impl Job {
    /// Writes the rendered content events, stamped just before.
    pub(super) fn write_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        let deltas = std::mem::take(&mut self.out_deltas);
        if self.faults.has(FaultKind::HalfUtf8)
            && let Some(wide) = out.iter().position(|byte| !byte.is_ascii())
        {
            // The rest follows a moment later, so that a client really reads two halves.
            self.fill_stamps(&mut out, now_ns());
            self.wire.send(&out[..=wide]);
            self.tail = out.split_off(wide + 1);
            self.tail_deltas = deltas;
            return;
        }
        if self.faults.has(FaultKind::SplitBytes) {
            // Of the bytes after the event's last one, only the chunk's line end is left.
            let completing = out.len().saturating_sub(3);
            self.fill_stamps(&mut out, now_ns());
            for (index, &byte) in out.iter().enumerate() {
                if index == completing {
                    let stamp = now_ns();
                    self.record.deltas.extend(std::iter::repeat_n(stamp, deltas));
                }
                self.wire.send(&[byte]);
            }
            return;
        }
        let stamp = now_ns();
        self.fill_stamps(&mut out, stamp);
        self.record.deltas.extend(std::iter::repeat_n(stamp, deltas));
        self.wire.send(&out);
        out.clear();
        self.out = out;
    }

    fn fill_stamps(&mut self, out: &mut [u8], stamp: u64) {
        if self.out_stamps.is_empty() {
            return;
        }
        let digits = format!("{stamp:020}");
        for at in self.out_stamps.drain(..) {
            if let Some(place) = out.get_mut(at..at + STAMP_DIGITS) {
                place.copy_from_slice(digits.as_bytes());
            }
        }
    }

    /// Sends the rest of a write that was split inside a character.
    pub(in crate::sim) fn flush_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        let stamp = now_ns();
        self.record.deltas.extend(std::iter::repeat_n(stamp, self.tail_deltas));
        self.tail_deltas = 0;
        self.wire.send(&tail);
    }

    pub(super) fn write_chunk(&mut self, payload: &[u8]) {
        let mut bytes = Vec::new();
        render::chunk(&mut bytes, payload);
        self.write_plain(&bytes);
    }

    pub(super) fn write_plain(&self, bytes: &[u8]) {
        if self.faults.has(FaultKind::SplitBytes) {
            for byte in bytes {
                self.wire.send(&[*byte]);
            }
        } else {
            self.wire.send(bytes);
        }
    }
}
