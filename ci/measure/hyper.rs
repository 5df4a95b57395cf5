//! The road not taken: the same work with hyper's client, over a stream that stamps every read.
//!
//! ```text
//! cargo run --release --example hyper PORT USERS REQUESTS MAX_TOKENS
//! ```
//!
//! Prints the line that `floor.c` prints: events, wall seconds, processor seconds, peak resident kibibytes. It is
//! spared whatever hyper is not to blame for: stamps are of its own clock, which cost less than the kernel's,
//! events are cut by bench-ci's decoder and not read, and nothing is kept of them.

#![expect(clippy::print_stdout, reason = "figures on stdout are what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a broken benchmark may say so by its line")]

use std::cell::Cell;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bench_ci::load::sse::{Decoder, Item};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// A stream that takes a stamp whenever something came.
struct Stamping(TcpStream);

impl AsyncRead for Stamping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        if read.is_ready() {
            black_box(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Stamping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn main() {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map(|number| number.parse().unwrap()).collect();
    let &[port, users, requests, max_tokens] = numbers.as_slice() else {
        panic!("usage: hyper PORT USERS REQUESTS MAX_TOKENS");
    };
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"one two three four"}}],"stream":true,"max_tokens":{max_tokens},"ignore_eos":true,"cache_prompt":false}}"#
    );
    let body = Bytes::from(body);
    let (left, events) = (Rc::new(Cell::new(requests)), Rc::new(Cell::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let users: Vec<_> = (0..users)
            .map(|_| {
                let (left, events, body) = (Rc::clone(&left), Rc::clone(&events), body.clone());
                tokio::task::spawn_local(user(port, left, events, body))
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
    });
    let wall = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let processor = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("{} {wall:.6} {:.6} {}", events.get(), processor as f64 / 1e6, usage.max_rss());
}

/// Asks again and again until all was asked; each over its own connection, as the server closes one after
/// an event stream.
async fn user(port: usize, left: Rc<Cell<usize>>, events: Rc<Cell<usize>>, body: Bytes) {
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let mut sender = connect(port).await;
        let request = Request::post("/v1/chat/completions")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .unwrap();
        let mut answer = sender.send_request(request).await.unwrap().into_body();
        let mut decoder = Decoder::default();
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame.unwrap().into_data() else { continue };
            let mut found = 0;
            let count = |item: Item<'_>| found += usize::from(matches!(item, Item::Event(_)));
            decoder.feed(&data, count).unwrap();
            events.set(events.get() + found);
        }
    }
}

async fn connect(port: usize) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(Stamping(stream))).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}
