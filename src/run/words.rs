//! What a run has to say in words: the causes of its end and its warnings, as the report has them.
//!
//! Main functions: [`in_lines`], [`warnings`] and [`on_the_way`]. Of what went wrong it words nothing
//! itself; it gathers and divides.

use super::findings::Findings;
use crate::artifact::Note;
use crate::error::Error;
use crate::plan::Transport;

/// An error as the report has it: its causes in one line, and apart from it, in one line too, what
/// the server's log said.
pub(super) fn in_lines(error: Option<&Error>) -> (Vec<String>, Option<String>) {
    let Some(error) = error else { return (Vec::new(), None) };
    let words = error.chain();
    let (message, log): (Vec<&str>, Vec<&str>) =
        words.lines().map(str::trim).partition(|line| !line.starts_with("log: "));
    let log: Vec<&str> = log.iter().filter_map(|line| line.strip_prefix("log: ")).collect();
    (vec![message.join("; ")], (!log.is_empty()).then(|| log.join(" / ")))
}

/// What a reader should know, from every room that had something to say.
pub(super) fn warnings(findings: &Findings) -> Vec<Note> {
    let note =
        |code: &str, message: &String| Note { code: code.to_owned(), message: message.clone() };
    let scrape = findings.scrape.as_ref();
    let published = &findings.published.warnings;
    let mut notes: Vec<Note> =
        findings.warnings.iter().map(|message| note("run", message)).collect();
    notes.extend(published.iter().map(|message| note("published", message)));
    notes.extend(findings.provenance.notes.iter().map(|message| note("provenance", message)));
    notes.extend(
        scrape.iter().flat_map(|scrape| &scrape.warnings).map(|message| note("scrape", message)),
    );
    if let Some(absent) = scrape.and_then(|scrape| scrape.absent.as_ref()) {
        notes.push(note("no_server_metrics", absent));
    }
    notes
}

/// What a reader of the figures must know of the way to a server that is not ours.
pub(super) fn on_the_way(transport: &Transport, is_ours: bool) -> Vec<String> {
    let mut words = Vec::new();
    if transport.insecure && !is_ours {
        words.push(
            "no certificate was checked (--insecure): whoever answered may not be the server that was meant"
                .to_owned(),
        );
    }
    if let Some(proxy) = &transport.proxy {
        words.push(format!(
            "the load went through the proxy {}: its time is in the figures",
            proxy.authority()
        ));
    }
    if let Some(variable) = &transport.ignored_proxy_variable {
        words.push(format!(
            "{variable} is set and was not used: a load goes straight to the server, unless --proxy says otherwise"
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerError;
    use crate::server::cause::Cause;

    #[test]
    fn the_log_is_kept_out_of_the_cause() {
        let error = Error::Server(ServerError::DiedEarly {
            how: "exited with status 1".to_owned(),
            after: std::time::Duration::from_secs(2),
            cause: Cause::OutOfMemory,
            lines: vec!["one".to_owned(), "two".to_owned()],
            log: "server.log".into(),
        });
        let (causes, log) = in_lines(Some(&error));
        let cause =
            "llama-server exited with status 1 after 2.0 s, before it was healthy: memory ran out";
        assert_eq!(causes, [cause]);
        assert_eq!(log.as_deref(), Some("one / two"));
        assert_eq!(in_lines(None), (Vec::new(), None));
    }
}
