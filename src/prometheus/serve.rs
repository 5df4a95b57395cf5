//! The page of our own metrics over HTTP, for whoever scrapes it while the run lasts.
//!
//! Main function: [`serve`]. Only GET and HEAD of `/metrics`; it reads no body and asks nobody for a
//! password, as is usual for such a page: what it tells is in the report too.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::text::Format;

/// Connections at once; a scraper has one.
const MOST_CONNECTIONS: usize = 64;

/// A head that is longer is none of a scraper's.
const LONGEST_HEAD: usize = 16 << 10;

const MOST_HEADERS: usize = 64;

/// A connection on which nothing happens for so long is closed. Longer than any usual interval, since
/// Prometheus keeps its connection.
const IDLE: Duration = Duration::from_secs(120);

/// After an accept that failed, for want of file descriptors for instance.
const BREATHER: Duration = Duration::from_millis(100);

/// Makes the page anew for each request.
pub(super) type Page = Arc<dyn Fn(Format) -> String + Send + Sync>;

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, page: Page) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATHER).await;
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            // Whoever asked may have gone away; that is no news.
            let _gone_away = answer_all(stream, &page).await;
            drop(permit);
        });
    }
}

async fn answer_all(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let asked = loop {
            match read(&bytes) {
                Read::Partial if bytes.len() > LONGEST_HEAD => {
                    return stream
                        .write_all(&refusal(431, "Request Header Fields Too Large"))
                        .await;
                }
                Read::Partial => {}
                Read::NotHttp => return stream.write_all(&refusal(400, "Bad Request")).await,
                Read::Whole(asked) => break asked,
            }
            let more = tokio::time::timeout(IDLE, stream.read_buf(&mut bytes)).await;
            if more.map_err(std::io::Error::other)?? == 0 {
                return Ok(());
            }
        };
        bytes.drain(..asked.head_bytes);
        stream.write_all(&asked.response(page)).await?;
        if !asked.stays {
            return stream.shutdown().await;
        }
    }
}

/// What the bytes so far amount to.
enum Read {
    Partial,
    NotHttp,
    Whole(Asked),
}

/// A request's head.
struct Asked {
    method: String,
    path: String,
    accept: Option<String>,
    /// Whether the connection does.
    stays: bool,
    head_bytes: usize,
}

fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Read::Partial,
        Err(_not_http) => return Read::NotHttp,
    };
    let target = head.path.unwrap_or("/");
    let mut asked = Asked {
        method: head.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or(target).to_owned(),
        accept: None,
        stays: head.version == Some(1),
        head_bytes,
    };
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
        match header.name.to_ascii_lowercase().as_str() {
            // Several of them are one list.
            "accept" => match &mut asked.accept {
                Some(accept) => *accept = format!("{accept},{value}"),
                None => asked.accept = Some(value),
            },
            "connection" => asked.stays = asked.stays && value != "close",
            // A body would be taken for the next request.
            "content-length" => asked.stays = asked.stays && value == "0",
            "transfer-encoding" => asked.stays = false,
            _ => {}
        }
    }
    Read::Whole(asked)
}

impl Asked {
    fn response(&self, page: &Page) -> Vec<u8> {
        let is_head = self.method == "HEAD";
        if self.method != "GET" && !is_head {
            return response(
                405,
                "Method Not Allowed",
                "Allow: GET, HEAD\r\n",
                "",
                self.stays,
                false,
            );
        }
        match self.path.as_str() {
            "/metrics" => {
                let format = Format::preferred(self.accept.as_deref());
                let kind = format!("Content-Type: {}\r\nVary: Accept\r\n", format.content_type());
                response(200, "OK", &kind, &page(format), self.stays, is_head)
            }
            "/" => {
                let text = "bench-ci: metrics of the run in progress are at /metrics\n";
                response(200, "OK", PLAIN, text, self.stays, is_head)
            }
            _ => response(404, "Not Found", PLAIN, "only /metrics is here\n", self.stays, is_head),
        }
    }
}

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\n";

fn refusal(status: u16, reason: &str) -> Vec<u8> {
    response(status, reason, PLAIN, "", false, false)
}

fn response(
    status: u16,
    reason: &str,
    headers: &str,
    body: &str,
    stays: bool,
    is_head: bool,
) -> Vec<u8> {
    let connection = if stays { "keep-alive" } else { "close" };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\n{headers}Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    if !is_head {
        text.push_str(body);
    }
    text.into_bytes()
}
