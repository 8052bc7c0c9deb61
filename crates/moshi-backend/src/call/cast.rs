//! Who the model is in a call: the voices and roles that callers may choose, made into prompts off the async workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moshi_engine::{EngineError, Prompt};
use moshi_model::Roles;
use moshi_protocol::{Notice, Refusal};
use tokio::sync::Semaphore;

use super::off_worker;
use crate::call_sink::MODEL_FAILED;
use crate::config::Part;

/// Longest role, in bytes, as in the query.
const LONGEST_ROLE: usize = 4_096;

/// Makes a model that plays roles play those that callers ask for.
pub(crate) struct Cast {
    roles: Arc<Roles>,
    /// What callers get who do not choose.
    usual: Part,
    /// One prompt is made at a time: a voice is encoded once however many ask for it at the same moment, and no more of
    /// the machine is taken from the calls that are open.
    making: Semaphore,
}

/// Why the model cannot be who it was asked to be, for the caller to read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Miscast(String);

impl Part {
    /// What a model that plays no roles tells a caller who asks for one. Clients of models that do send these parameters
    /// to every server, and a call without them is better than none.
    pub(crate) fn in_vain(&self) -> Vec<Notice> {
        let asked = [("voice_prompt", &self.voice), ("text_prompt", &self.role)];
        let asked = asked.into_iter().filter(|(_, value)| value.is_some());
        asked.map(|(name, _)| Notice::parameter_ignored(name)).collect()
    }

    /// This, and of `other` what is left open.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let first = |ours: &Option<String>, theirs: &Option<String>| ours.clone().or_else(|| theirs.clone());
        Self { voice: first(&self.voice, &other.voice), role: first(&self.role, &other.role) }
    }
}

impl Cast {
    /// Of a model's roles; `usual` is for callers who do not choose. `None` for a model that plays none.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a usual voice that there is not, and for a part that a model without roles is to play.
    pub(crate) fn new(roles: Option<Arc<Roles>>, usual: &Part) -> Result<Option<Self>, EngineError> {
        let Some(roles) = roles else {
            return match usual {
                Part { voice: None, role: None } => Ok(None),
                _ => Err(EngineError::Input(
                    "voice, role: this model plays no roles; leave them out, or take one that does, such as \
                     nvidia/personaplex-7b-v1"
                        .to_owned(),
                )),
            };
        };
        usual.voice.as_deref().map(|voice| roles.voices().named(voice)).transpose()?;
        Ok(Some(Self { roles, usual: usual.clone(), making: Semaphore::new(1) }))
    }

    /// The names of the voices that may be chosen, in order.
    pub(crate) fn voices(&self) -> Vec<String> {
        self.roles.voices().names()
    }

    /// What callers get who do not choose.
    pub(crate) fn usual(&self) -> &Part {
        &self.usual
    }

    /// The prompt of a part, with the usual one where it is left open; `None` if nobody asks for anything. Whoever drops
    /// this ends the making of it.
    ///
    /// # Errors
    /// [`Miscast`] for a voice that there is not, and a role that the model cannot take.
    pub(crate) async fn prompt(&self, part: &Part) -> Result<Option<Arc<Prompt>>, Miscast> {
        let Part { voice, role } = part.or(&self.usual);
        if voice.is_none() && role.is_none() {
            return Ok(None);
        }
        if role.as_ref().is_some_and(|role| role.len() > LONGEST_ROLE || role.contains('\0')) {
            return Err(Miscast(format!("a role is a text of at most {LONGEST_ROLE} bytes")));
        }
        let file = voice.as_deref().map(|name| self.voice(name)).transpose()?;
        let _turn = self.making.acquire().await.map_err(|_| Miscast(MODEL_FAILED.to_owned()))?;
        let wanted = Wanted::default();
        let (roles, still) = (Arc::clone(&self.roles), Arc::clone(&wanted.0));
        let named = (file, voice.unwrap_or_default());
        let made = off_worker(named, move |(file, name)| {
            let role = role.unwrap_or_default();
            let made = roles.prompt(file.as_deref(), &role, &mut || still.load(Ordering::Relaxed));
            made.map_err(|error| Miscast(in_public(&error, file.as_deref(), name)))
        });
        let (_, made) = made.await.ok_or_else(|| Miscast(MODEL_FAILED.to_owned()))?;
        made.map(|prompt| Some(Arc::new(prompt)))
    }

    /// The file of a voice. Callers call voices by name, and learn no paths.
    fn voice(&self, name: &str) -> Result<PathBuf, Miscast> {
        self.roles.voices().named(name).map_err(|_| {
            let shown: String = name.chars().take(64).collect();
            Miscast(match &self.voices()[..] {
                [] => format!("voice {shown:?}: this server has no voices to choose from"),
                names => format!("voice {shown:?}: the voices of this server are {}", names.join(", ")),
            })
        })
    }
}

impl Miscast {
    /// As the answer to a request.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal { error: "parameter".to_owned(), reason: self.to_string(), retry_after: None }
    }
}

/// What is wrong with a part, without the path of its voice.
fn in_public(error: &EngineError, file: Option<&Path>, name: &str) -> String {
    let words = error.to_string();
    let Some(file) = file else { return words };
    let whole = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    words.replace(&*whole.to_string_lossy(), name).replace(&*file.to_string_lossy(), name)
}

/// Whether somebody still waits for what is being made.
struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
