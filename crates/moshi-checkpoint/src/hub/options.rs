//! Settings of downloads.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where to download from and to.
#[derive(Clone)]
pub struct HubOptions {
    /// Folder of the cache (`$HF_HOME/hub`). Without one, nothing can be downloaded.
    pub cache: Option<PathBuf>,
    /// Access token; sent to the hub alone, never to hosts that it redirects to.
    pub token: Option<String>,
    /// Address of the hub.
    pub endpoint: String,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// How often a transfer that makes no headway is tried again.
    pub retries: u32,
    /// Pause before the first new try; doubled for each further one.
    pub retry_pause: Duration,
    /// How long the network may be silent before a try counts as failed.
    pub patience: Duration,
}

impl Default for HubOptions {
    /// The public hub, no cache, no token.
    fn default() -> Self {
        Self {
            cache: None,
            token: None,
            endpoint: "https://huggingface.co".to_owned(),
            offline: false,
            retries: 5,
            retry_pause: Duration::from_millis(500),
            patience: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Everything but the token, which must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubOptions {
    /// Reads `HF_HOME` (or `HF_HUB_CACHE`), `HF_TOKEN` (or the token file of `huggingface-cli login`), `HF_ENDPOINT`
    /// and `HF_HUB_OFFLINE`.
    ///
    /// The one function of this crate that looks at the environment, for programs to call at their start.
    pub fn from_env() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// As [`HubOptions::from_env`], from any table of variables.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let default = Self::default();
        let user = || get("HOME").or_else(|| get("USERPROFILE")).map(|h| PathBuf::from(h).join(".cache"));
        let shared = || get("XDG_CACHE_HOME").map(PathBuf::from).or_else(user);
        let home = get("HF_HOME").map(PathBuf::from).or_else(|| shared().map(|c| c.join("huggingface")));
        let token_file = get("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| home.as_ref().map(|h| h.join("token")));
        let saved = || std::fs::read_to_string(token_file?).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let is_on = |v: String| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str());
        Self {
            cache: get("HF_HUB_CACHE").map(PathBuf::from).or_else(|| home.clone().map(|h| h.join("hub"))),
            token: get("HF_TOKEN").or_else(saved),
            endpoint: get("HF_ENDPOINT").unwrap_or_else(|| default.endpoint.clone()),
            offline: get("HF_HUB_OFFLINE").is_some_and(is_on),
            ..default
        }
    }
}
