//! Models from the Hub: cached where all Hub tools cache, resumed, checked, usable offline.
//!
//! Main function: [`fetch`]. hf-hub finds what is cached, lists repositories and speaks to the
//! Hub's deduplicating storage; the requests for a file's headers and bytes are our own, for the
//! reasons given in [`metadata`] and [`transfer`].

mod ask;
mod client;
mod error;
mod metadata;
mod place;
mod transfer;
mod xet;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use ask::{BadName, HubAsk, RepoKind};
pub use error::{HubError, HubFault};

use self::client::Hub;
use self::metadata::Metadata;
use self::place::{Found, Kept, Place};
use super::environment::Environment;
use super::split::SplitName;
use super::{ModelError, ModelFile, aside, digest, local};
use crate::cancel::Cancel;
use crate::event::Events;

/// How long and how often the Hub is asked. Every limit that is reached is named in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubLimits {
    /// To an open connection.
    pub connect: Duration,
    /// To the head of an answer.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Attempts of one request, the first included; for a body, those that brought little.
    pub attempts: u32,
    /// Pause before the second attempt; each further one is twice as long.
    pub pause: Duration,
    /// How long is waited in all because of `Retry-After`.
    pub wait_max: Duration,
    /// How long another process may hold the file's lock.
    pub lock_wait: Duration,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            attempts: 4,
            pause: Duration::from_millis(500),
            wait_max: Duration::from_secs(60),
            lock_wait: Duration::from_secs(30 * 60),
        }
    }
}

/// One file of a model, wherever it came from.
struct Part {
    kept: Kept,
    downloaded_bytes: u64,
    /// As [`Found::unnamed`].
    unnamed: Option<ModelError>,
}

/// The model, from the cache where it is there and current, else from the Hub.
pub(super) async fn fetch(
    ask: &HubAsk,
    model_dir: Option<&Path>,
    environment: &Environment,
    events: &Events,
    cancel: &Cancel,
) -> Result<ModelFile, ModelError> {
    let hub = Hub::new(ask, environment, events, cancel)?;
    let place = match model_dir {
        Some(folder) => Place::Folder(folder.to_owned()),
        None => Place::Cache(environment.hub_cache.clone()),
    };
    let asks: Vec<HubAsk> = match SplitName::parse(&ask.file) {
        Some(split) => split.parts().map(|file| ask.with_file(&file)).collect(),
        None => vec![ask.clone()],
    };
    let parts = get_parts(&hub, ask, &asks, &place).await?;

    let paths: Vec<PathBuf> = parts.iter().map(|part| part.kept.path.clone()).collect();
    let mut model = aside(move || local::describe(paths, "hub")).await?;
    model.hf_repo = Some(ask.repo.clone());
    model.hf_file = Some(ask.file.clone());
    model.revision = parts.first().and_then(|part| part.kept.commit.clone());
    model.downloaded_bytes = parts.iter().map(|part| part.downloaded_bytes).sum();
    // Bytes that have just been checked need no second reading; those of earlier runs do.
    let fresh = parts.iter().all(|part| part.downloaded_bytes >= 1);
    let digests: Option<Vec<String>> = parts.iter().map(|part| part.kept.sha256.clone()).collect();
    model.sha256 = digests.filter(|_| fresh).map(|digests| digest::of_parts(&digests));
    model.expected_sha256 = parts.into_iter().map(|part| part.kept.sha256).collect();
    Ok(model)
}

/// A single file that is no model, in the cache that all Hub tools share: its path and, where the
/// Hub announced it, its sha-256.
pub(super) async fn fetch_file(
    ask: &HubAsk,
    environment: &Environment,
    events: &Events,
    cancel: &Cancel,
) -> Result<(PathBuf, Option<String>), ModelError> {
    let hub = Hub::new(ask, environment, events, cancel)?;
    let place = Place::Cache(environment.hub_cache.clone());
    let mut parts = get_parts(&hub, ask, std::slice::from_ref(ask), &place).await?;
    let kept = parts.pop().expect("one file was asked for, and one came").kept;
    Ok((kept.path, kept.sha256))
}

async fn get_parts(
    hub: &Hub<'_>,
    ask: &HubAsk,
    asks: &[HubAsk],
    place: &Place,
) -> Result<Vec<Part>, ModelError> {
    let kept = all_kept(hub, asks, place).await;
    if hub.environment.hub_offline {
        let offline = || ask.failed(HubFault::Offline { place: place.path().to_owned() });
        return kept.ok_or_else(|| offline().into());
    }
    // A commit never changes, so what is cached of it needs no asking.
    if is_commit(ask.revision())
        && let Some(kept) = kept
    {
        return Ok(kept);
    }
    // With the file at hand one attempt is enough.
    let attempts = if kept.is_some() { 1 } else { hub.limits().attempts };
    let mut wanted: Vec<(&HubAsk, Metadata)> = Vec::new();
    for part in asks {
        let metadata = match metadata::ask_for(hub, part, attempts).await {
            Ok(metadata) => metadata,
            Err(ModelError::Hub(error)) if is_about_access(&error.fault) => match kept {
                Some(kept) => {
                    hub.warn(format!(
                        "using the cached file, because the Hub did not answer: {error}"
                    ));
                    return Ok(kept);
                }
                None => return Err(error.into()),
            },
            Err(error) => return Err(error),
        };
        if let Some((_, first)) = wanted.first()
            && first.commit != metadata.commit
        {
            let (from, to) = (first.commit.clone(), metadata.commit);
            return Err(part.failed(HubFault::RevisionMoved { from, to }).into());
        }
        wanted.push((part, metadata));
    }
    let mut parts = Vec::new();
    for (part, metadata) in &wanted {
        parts.push(get(hub, part, metadata, place).await?);
    }
    warn_of_unnamed(hub, &mut parts)?;
    Ok(parts)
}

/// Says that files are used where they lie, because their place cannot be written to. The parts of a
/// model must then lie in one folder all the same: there a server looks for them.
fn warn_of_unnamed(hub: &Hub<'_>, parts: &mut [Part]) -> Result<(), ModelError> {
    let why = parts.iter_mut().find_map(|part| part.unnamed.take());
    let Some(why) = why else { return Ok(()) };
    let mut folders = parts.iter().map(|part| part.kept.path.parent());
    let first = folders.next();
    if folders.any(|folder| Some(folder) != first) {
        return Err(why);
    }
    hub.warn(format!(
        "using the cached file where it lies, because its name cannot be made: {why}"
    ));
    Ok(())
}

/// All parts from what is kept; `None` unless every one is there.
async fn all_kept(hub: &Hub<'_>, asks: &[HubAsk], place: &Place) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for ask in asks {
        let kept = place.kept(&hub.crate_client, ask).await?;
        parts.push(Part { kept, downloaded_bytes: 0, unnamed: None });
    }
    // Parts of two versions are no model.
    let first = parts.first()?.kept.commit.clone();
    parts.iter().all(|part| part.kept.commit == first).then_some(parts)
}

/// One file that the Hub has described.
async fn get(
    hub: &Hub<'_>,
    ask: &HubAsk,
    metadata: &Metadata,
    place: &Place,
) -> Result<Part, ModelError> {
    let part = |found: Found, downloaded_bytes: u64| Part {
        kept: Kept {
            path: found.path,
            commit: Some(metadata.commit.clone()),
            sha256: metadata.sha256.clone(),
        },
        downloaded_bytes,
        unnamed: found.unnamed,
    };
    if let Some(found) = find(hub, ask, metadata, place).await? {
        return Ok(part(found, 0));
    }
    if let Some((found, bytes)) = xet::fetch(hub, ask, metadata, place).await? {
        return Ok(part(found, bytes));
    }
    let lock = place.lock(ask, metadata, hub.limits(), hub.cancel).await?;
    // Whoever held the lock may have fetched it meanwhile.
    let outcome = match find(hub, ask, metadata, place).await? {
        Some(found) => part(found, 0),
        None => {
            let (path, bytes) = transfer::fetch(hub, ask, metadata, place).await?;
            part(Found { path, unnamed: None }, bytes)
        }
    };
    drop(lock);
    Ok(outcome)
}

/// See [`Place::find`], which may have to read the whole file.
async fn find(
    hub: &Hub<'_>,
    ask: &HubAsk,
    metadata: &Metadata,
    place: &Place,
) -> Result<Option<Found>, ModelError> {
    let (ask, metadata, place) = (ask.clone(), metadata.clone(), place.clone());
    tokio::select! {
        found = aside(move || place.find(&ask, &metadata)) => found,
        reason = hub.cancel.cancelled() => Err(ModelError::Cancelled(reason)),
    }
}

/// Whether the Hub could not or would not answer, as opposed to having said that there is no such
/// thing; only then does a cached file stand in.
fn is_about_access(fault: &HubFault) -> bool {
    matches!(
        fault,
        HubFault::TokenMissing { .. }
            | HubFault::TokenRefused { .. }
            | HubFault::Gated { .. }
            | HubFault::Forbidden { .. }
            | HubFault::RateLimited { .. }
            | HubFault::ServerFailed { .. }
            | HubFault::Unreachable { .. }
            | HubFault::ProxyRefused { .. }
            | HubFault::TimedOut { .. }
            | HubFault::NotAHub { .. }
    )
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
