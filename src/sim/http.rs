//! HTTP/1.1 as llama-server speaks it: requests out of bytes, whole responses into bytes.
//!
//! Main types: [`Request`] and [`Response`]. Sockets are `connection`'s; streamed bodies are
//! `render`'s.

use super::clock::Received;
use super::fault::FAULT_HEADER;

/// The header by which a client numbers its requests; echoed in the truth.
pub(super) const CLIENT_REQUEST_HEADER: &str = "x-bench-ci-request";
/// Announced on every response that does not close, as a real server does.
pub(super) const KEEP_ALIVE: &str = "Keep-Alive: timeout=5, max=100\r\n";

const MOST_HEADERS: usize = 100;
const LONGEST_HEAD: usize = 64 * 1024;
const LONGEST_BODY: usize = 256 * 1024 * 1024;

/// A request that has arrived whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// Whether the client wants the connection to stay.
    pub(super) keep_alive: bool,
    /// From `Authorization: Bearer` or `X-Api-Key`.
    pub(super) api_key: Option<String>,
    /// The value of [`FAULT_HEADER`].
    pub(super) faults: Option<String>,
    /// The value of [`CLIENT_REQUEST_HEADER`].
    pub(super) client_request: Option<u64>,
    pub(super) body: Vec<u8>,
    /// When its last byte arrived.
    pub(super) received: Received,
}

/// The request is not HTTP; the status to answer before closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) u16);

/// What the bytes so far amount to.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Not a whole request yet.
    Partial {
        /// The client waits for `100 Continue` before it sends the body.
        wants_continue: bool,
    },
    /// A request and how many bytes it took.
    Whole(Box<Request>, usize),
}

enum Body {
    Length(usize),
    Chunked,
}

/// Looks for a request at the start of `bytes`, the last of which arrived at `received`.
pub(super) fn parse(bytes: &[u8], received: Received) -> Result<Parsed, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() > LONGEST_HEAD => return Err(Malformed(431)),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial { wants_continue: false }),
        Err(_not_http) => return Err(Malformed(400)),
    };
    let target = head.path.unwrap_or("/");
    let mut request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or(target).to_owned(),
        keep_alive: head.version == Some(1),
        api_key: None,
        faults: None,
        client_request: None,
        body: Vec::new(),
        received,
    };
    let mut body = Body::Length(0);
    let mut wants_continue = false;
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            body = Body::Length(value.parse().map_err(|_not_a_number| Malformed(400))?);
        } else if is("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            body = Body::Chunked;
        } else if is("connection") {
            request.keep_alive = match value.to_ascii_lowercase().as_str() {
                "close" => false,
                "keep-alive" => true,
                _ => request.keep_alive,
            };
        } else if is("expect") {
            wants_continue = value.eq_ignore_ascii_case("100-continue");
        } else if is("authorization") {
            request.api_key = value.strip_prefix("Bearer ").map(str::to_owned);
        } else if is("x-api-key") {
            request.api_key = Some(value.to_owned());
        } else if is(FAULT_HEADER) {
            request.faults = Some(value.to_owned());
        } else if is(CLIENT_REQUEST_HEADER) {
            request.client_request = value.parse().ok();
        }
    }
    let rest = &bytes[head_length..];
    let found = match body {
        Body::Length(length) if length > LONGEST_BODY => return Err(Malformed(413)),
        Body::Length(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
        Body::Chunked => decode_chunked(rest)?,
    };
    match found {
        Some((body, used)) => {
            request.body = body;
            Ok(Parsed::Whole(Box::new(request), head_length + used))
        }
        None => Ok(Parsed::Partial { wants_continue: wants_continue && rest.is_empty() }),
    }
}

/// The body in chunked coding and how many bytes it took; `None` while it is not whole. Trailers
/// are skipped.
fn decode_chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (used, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_bad_size) => return Err(Malformed(400)),
        };
        at += used;
        if size == 0 {
            // Trailers end with an empty line; without trailers that line comes at once.
            let trailers = &bytes[at..];
            if trailers.starts_with(b"\r\n") {
                return Ok(Some((body, at + 2)));
            }
            return Ok(memchr::memmem::find(trailers, b"\r\n\r\n").map(|end| (body, at + end + 4)));
        }
        let size = usize::try_from(size)
            .ok()
            .filter(|&size| size <= LONGEST_BODY)
            .ok_or(Malformed(413))?;
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        at += size;
        match bytes.get(at..at + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(Malformed(400)),
        }
        if body.len() > LONGEST_BODY {
            return Err(Malformed(413));
        }
    }
}

/// A response that is known whole before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Further header lines, each with its CR LF.
    pub(super) headers: String,
    pub(super) body: String,
}

/// What a real server sends with JSON.
pub(super) const JSON: &str = "application/json; charset=utf-8";

impl Response {
    /// 200 with JSON.
    pub(super) fn json(body: String) -> Response {
        Response { status: 200, content_type: JSON, headers: String::new(), body }
    }

    /// An error in llama-server's form.
    pub(super) fn error(status: u16, kind: &str, message: &str) -> Response {
        let error =
            serde_json::json!({"error": {"code": status, "message": message, "type": kind}});
        Response { status, ..Response::json(error.to_string()) }
    }

    /// Whether a real server closes the connection after it.
    pub(super) fn closes(&self) -> bool {
        self.status >= 400
    }

    /// The bytes on the wire.
    pub(super) fn to_bytes(&self, close: bool) -> Vec<u8> {
        let Response { status, content_type, headers, body } = self;
        let connection = if close { "Connection: close\r\n" } else { KEEP_ALIVE };
        format!(
            "HTTP/1.1 {status} {reason}\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n{headers}\
             Content-Type: {content_type}\r\nContent-Length: {length}\r\n{connection}\r\n{body}",
            reason = reason(*status),
            length = body.len(),
        )
        .into_bytes()
    }
}

/// The head of a stream.
pub(super) fn stream_head(with_content_type: bool) -> String {
    let content_type = if with_content_type { "Content-Type: text/event-stream\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\nX-Accel-Buffering: no\r\n\
         {content_type}Transfer-Encoding: chunked\r\n{KEEP_ALIVE}\r\n"
    )
}

/// The reason phrase of a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::truth::ReceiveClock;

    const AT: Received = Received { at_ns: 1, by: ReceiveClock::User };

    fn whole(bytes: &[u8]) -> (Request, usize) {
        match parse(bytes, AT) {
            Ok(Parsed::Whole(request, used)) => (*request, used),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_whole_at_its_last_byte_and_not_before() {
        let bytes = b"POST /completion?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nX-Bench-CI-Request: 12\r\n\
                      Authorization: Bearer key\r\nX-Sim-Fault: cut:3\r\n\r\nbodyNEXT";
        let end = bytes.len() - 4;
        for length in 0..end {
            assert!(
                matches!(parse(&bytes[..length], AT), Ok(Parsed::Partial { .. })),
                "whole at {length}"
            );
        }
        let (request, used) = whole(bytes);
        assert_eq!(used, end);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/completion"));
        assert_eq!(request.body, b"body");
        assert_eq!(request.client_request, Some(12));
        assert_eq!(request.api_key.as_deref(), Some("key"));
        assert_eq!(request.faults.as_deref(), Some("cut:3"));
        assert!(request.keep_alive);
    }

    #[test]
    fn a_chunked_body_is_joined_and_its_trailers_skipped() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for tail in ["3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "5\r\nabcde\r\n0\r\nA: b\r\n\r\n"] {
            let bytes = [head.clone(), tail.as_bytes().to_vec()].concat();
            for length in 0..bytes.len() {
                assert!(
                    matches!(parse(&bytes[..length], AT), Ok(Parsed::Partial { .. })),
                    "whole at {length}"
                );
            }
            let (request, used) = whole(&bytes);
            assert_eq!((request.body.as_slice(), used), (b"abcde".as_slice(), bytes.len()));
        }
    }

    #[test]
    fn connection_close_and_http_1_0_end_the_connection() {
        assert!(!whole(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").0.keep_alive);
        assert!(!whole(b"GET / HTTP/1.0\r\n\r\n").0.keep_alive);
        assert!(matches!(parse(b"\x16\x03\x01 nonsense\r\n\r\n", AT), Err(Malformed(400))));
    }

    #[test]
    fn responses_have_the_head_of_a_real_server() {
        let bytes = Response::json("{}".to_owned()).to_bytes(false);
        assert_eq!(
            String::from_utf8(bytes).expect("text"),
            "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\
             Keep-Alive: timeout=5, max=100\r\n\r\n{}"
        );
        let error = Response::error(404, "not_found_error", "File Not Found");
        assert_eq!(
            error.body,
            r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#
        );
        assert!(error.closes());
    }
}
