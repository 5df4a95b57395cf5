//! How a server is reached besides its address: HTTP version, certificates, proxy.
//!
//! Main type: [`Transport`]. Values only; the ways themselves are in `transport` and `load`.

use std::path::PathBuf;

use serde::Serialize;

use super::Secret;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Transport {
    /// Which HTTP is spoken.
    pub http_version: HttpVersion,
    /// A PEM file whose certificates are trusted in place of the system's; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// No certificate is checked.
    pub insecure: bool,
    /// The way goes through this proxy; `None`: straight to the server.
    pub proxy: Option<Proxy>,
    /// The variable that names a proxy which is *not* used, for a warning.
    pub ignored_proxy_variable: Option<String>,
}

impl Transport {
    /// The way to a server that we started: it is known by its process, not by its certificate, and
    /// it is on this machine.
    #[must_use]
    pub fn to_child(&self) -> Self {
        Self { http_version: self.http_version, insecure: true, ..Self::default() }
    }
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: agreed on by ALPN over TLS, without asking (`prior knowledge`) over plain `http`.
    #[serde(rename = "2")]
    Http2,
    /// Over TLS whatever the server prefers, HTTP/1.1 elsewhere.
    #[serde(rename = "auto")]
    Auto,
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, from user name and password in its URL.
    pub authorization: Option<Secret>,
}

impl std::str::FromStr for Proxy {
    type Err = &'static str;

    /// Reads `http://[user:password@]host[:port]`; the scheme may be left out, the port is then
    /// 1080, as curl has it. The error never holds what was typed: it may be a password.
    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let typed = typed.trim();
        let (rest, default_port) = match typed.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, 80),
            Some(_) => return Err("only proxies that are asked over plain http are supported"),
            None => (typed, 1080),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("a proxy's URL has no path");
        }
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("its host is none")?)),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\\"<>^`{|}".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err("its host is none");
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("its port is none")?,
            None => default_port,
        };
        let authorization = login.map(|login| {
            let plain = percent_decoded(login);
            Secret::new(format!("Basic {}", base64(&plain)))
        });
        Ok(Self { host: host.to_owned(), port, authorization })
    }
}

impl Proxy {
    /// `host:port`, without its secret.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The bytes of a text in which `%41` stands for `A`; a `%` that stands for nothing is itself.
#[must_use]
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        });
        match digits {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

/// RFC 4648, with padding: what `Basic` wants. One header a run is no reason for a crate.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_proxy_is_read_and_its_password_is_a_secret() {
        let proxy: Proxy = "http://me:p%40ss@proxy.example:3128/".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        let basic = proxy.authorization.as_ref().unwrap().expose();
        assert_eq!(basic, format!("Basic {}", base64(b"me:p@ss")));
        let shown = format!("{proxy:?}{}", serde_json::to_string(&proxy).unwrap());
        assert!(!shown.contains("p@ss") && !shown.contains(basic), "{shown}");

        let read = |typed: &str| typed.parse::<Proxy>().map(|proxy| proxy.authority());
        assert_eq!(read("proxy"), Ok("proxy:1080".to_owned()));
        assert_eq!(read("http://proxy"), Ok("proxy:80".to_owned()));
        assert_eq!(read("http://[::1]:8080"), Ok("[::1]:8080".to_owned()));
        for wrong in
            ["", "http://", "https://p", "socks5://p", "http://p:x", "http://p:0", "http://p/path"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
