//! What is answered: status, headers, body, as bytes.

use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers =
            vec![("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A refusal in GitHub's shape.
    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message, "documentation_url": "https://docs.github.com/rest",
            "status": status.to_string(),
        });
        Self::json(status, &body)
    }

    /// A 422 about one field.
    pub(crate) fn invalid(resource: &str, field: &str, message: &str) -> Self {
        let error = json!({
            "resource": resource, "code": "unprocessable", "field": field, "message": message,
        });
        Self::json(422, &json!({ "message": "Validation Failed", "errors": [error] }))
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn bytes(&self, method: &str) -> Vec<u8> {
        let has =
            |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let now = chrono::Utc::now();
        for (name, value) in [
            ("Date", now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
            ("X-RateLimit-Limit", "5000".to_owned()),
            ("X-RateLimit-Remaining", "4987".to_owned()),
            ("X-RateLimit-Reset", (now.timestamp() + 1_800).to_string()),
        ] {
            if !has(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = head.into_bytes();
        if method != "HEAD" && self.status != 304 {
            bytes.extend(&self.body);
        }
        bytes
    }
}
