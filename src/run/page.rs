//! What the HTML page of a run is made of besides its report: the rows and the server's log.
//!
//! Main functions: [`write()`] at the end of a run, and [`of_folder`] for a finished one. What cannot be
//! read is told on the page and is no error: the figures are the report's.

use std::path::Path;

use super::measure::SERVER_LOG;
use crate::artifact::{Report, RequestRow, store};
use crate::error::Error;
use crate::report::html::{self, Beside, LogExcerpt, Requests};
use crate::server::command::without_secrets;

/// The page.
pub(crate) const REPORT_HTML: &str = "report.html";

/// Bytes of a line of the log that are looked at.
const LINE: usize = 4096;

/// Writes the page. `rows` is `None` where nothing was measured.
pub(super) fn write(
    out_dir: &Path,
    report: &Report,
    rows: Option<impl Iterator<Item = RequestRow>>,
) -> Result<(), Error> {
    let requests =
        rows.map(Requests::of).ok_or_else(|| "the run ended before the load began".to_owned());
    let beside = Beside { requests, log: log(&out_dir.join(SERVER_LOG)) };
    let page = html::run(report, &beside);
    Ok(store::write(&out_dir.join(REPORT_HTML), page.as_bytes())?)
}

/// What lies beside a finished report, which is given by itself or by its folder.
pub(crate) fn of_folder(report: &Path) -> Beside {
    let mut requests = Requests::default();
    let read = store::each_row(report, |row| requests.add(&row));
    Beside {
        requests: read.map(|()| requests).map_err(|error| told(&error)),
        log: log(&store::beside(report, SERVER_LOG)),
    }
}

fn log(path: &Path) -> Result<LogExcerpt, String> {
    let mut excerpt = LogExcerpt::default();
    let shown = |line: &[u8]| without_secrets(&String::from_utf8_lossy(line));
    store::each_line(path, LINE, |line| excerpt.add(shown(line).as_bytes()))
        .map(|()| excerpt)
        .map_err(|error| told(&error))
}

/// Without the machine's folders: a page is sent around.
fn told(error: &store::StoreError) -> String {
    let name = |path: &Path| {
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    match error {
        store::StoreError::Read { path, source }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            format!("there is no {} beside the report", name(path))
        }
        store::StoreError::Read { path, source } => {
            format!("{} cannot be read: {source}", name(path))
        }
        store::StoreError::Row { path, line, source } => {
            format!("{} is damaged at line {line}: {source}", name(path))
        }
        other => other.to_string(),
    }
}
