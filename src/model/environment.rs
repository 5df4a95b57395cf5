//! What the environment says about models: the Hub's variables, with the Hub's own meanings, and
//! where bench-ci keeps what it makes.
//!
//! Main type: [`Environment`]. It decides nothing; a test makes one by hand.
//! Source of the meanings: hf-hub 1.0 `client.rs` and `constants.rs`, huggingface_hub `constants.py`.

use std::path::PathBuf;

use super::hub::HubLimits;
use crate::plan::Secret;

/// What the environment says about models.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The Hub: `HF_ENDPOINT`, without a slash at its end.
    pub hub_endpoint: String,
    /// Sent to the Hub, and to nobody else: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the
    /// file that `hf auth login` wrote. `None` if there is none.
    pub hub_token: Option<Secret>,
    /// The cache that all Hub tools share: `HF_HUB_CACHE`, else `HF_HOME/hub`.
    pub hub_cache: PathBuf,
    /// `HF_HUB_OFFLINE`: nothing is asked of the network.
    pub hub_offline: bool,
    /// How long and how often the Hub is asked.
    pub hub_limits: HubLimits,
    /// Names of the variables that send requests through a proxy; empty if none is set.
    pub proxy_variables: Vec<String>,
    /// What bench-ci makes: `BENCH_CI_CACHE`, else `XDG_CACHE_HOME/bench-ci`, else
    /// `~/.cache/bench-ci`; `None` if there is no home either.
    pub bench_ci_cache: Option<PathBuf>,
}

impl Environment {
    /// Reads the process environment, and the token's file if that is where it is.
    #[must_use]
    pub fn read() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same with the variables handed in. An empty variable counts as absent.
    pub(crate) fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);

        let user_cache = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
        let hub_home = path("HF_HOME").unwrap_or_else(|| {
            user_cache.clone().unwrap_or_else(|| PathBuf::from("/tmp/.cache")).join("huggingface")
        });
        let stored = |path: PathBuf| {
            let token = std::fs::read_to_string(path).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let hub_token = if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() {
            None
        } else {
            variable("HF_TOKEN")
                .map(|token| token.trim().to_owned())
                .or_else(|| stored(path("HF_TOKEN_PATH")?))
                .or_else(|| stored(hub_home.join("token")))
        };
        let proxies =
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        Self {
            hub_endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".to_owned())
                .trim()
                .trim_end_matches('/')
                .to_owned(),
            hub_token: hub_token.map(Secret::new),
            hub_cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| hub_home.join("hub")),
            hub_offline: variable("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
            }),
            hub_limits: HubLimits::default(),
            proxy_variables: proxies
                .iter()
                .filter(|name| variable(name).is_some())
                .map(|name| (*name).to_owned())
                .collect(),
            bench_ci_cache: path("BENCH_CI_CACHE")
                .or_else(|| user_cache.map(|cache| cache.join("bench-ci"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_other_hub_tools_look() {
        assert_eq!(of(&[("HOME", "/h")]).hub_cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(of(&[("HF_HOME", "/x")]).hub_cache, PathBuf::from("/x/hub"));
        let both = of(&[("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")]);
        assert_eq!(both.hub_cache, PathBuf::from("/y"));
        assert_eq!(
            of(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]).hub_cache,
            PathBuf::from("/c/huggingface/hub")
        );
    }

    #[test]
    fn made_models_have_their_own_cache() {
        let cache = |variables: &[(&str, &str)]| of(variables).bench_ci_cache;
        assert_eq!(cache(&[("HOME", "/h")]), Some(PathBuf::from("/h/.cache/bench-ci")));
        assert_eq!(
            cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]),
            Some(PathBuf::from("/c/bench-ci"))
        );
        assert_eq!(cache(&[("HOME", "/h"), ("BENCH_CI_CACHE", "/b")]), Some(PathBuf::from("/b")));
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn the_token_is_found_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let home = folder.path().to_str().unwrap();

        let stored = of(&[("HF_HOME", home)]);
        assert_eq!(stored.hub_token, Some(Secret::new("hf_stored".to_owned())));
        let named = of(&[("HF_HOME", home), ("HF_TOKEN", "hf_named")]);
        assert_eq!(named.hub_token, Some(Secret::new("hf_named".to_owned())));
        let disabled = of(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(disabled.hub_token, None);
        assert!(!format!("{named:?}").contains("hf_named"));
    }

    #[test]
    fn offline_takes_the_hub_s_own_words_for_yes() {
        for (value, offline) in
            [("1", true), ("True", true), ("yes", true), ("0", false), ("", false)]
        {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).hub_offline, offline, "{value}");
        }
        assert_eq!(of(&[("HF_ENDPOINT", "http://h/")]).hub_endpoint, "http://h");
    }
}
