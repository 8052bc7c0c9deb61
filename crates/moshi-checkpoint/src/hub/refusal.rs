//! What the hub means by a status that is no success, and what a person can do about it.

use super::HubError;
use super::http::{Answer, Body, Client, header, host};

/// Most of a message of the hub that is shown.
const MESSAGE: usize = 200;

impl Client {
    /// What a status outside 2xx and 3xx means.
    pub(super) fn refusal(&self, response: &Body, commit: Option<String>, what: &str) -> Result<Answer, HubError> {
        let status = response.status().as_u16();
        let code = header(response, "x-error-code").unwrap_or_default();
        match status {
            404 if code == "EntryNotFound" && commit.is_none() => Err(HubError::NoFile { what: what.to_owned() }),
            404 if code == "RepoNotFound" || code == "RevisionNotFound" => Err(self.no_repository(what)),
            404 => commit.map(|commit| Answer::NoFile { commit }).ok_or_else(|| self.no_repository(what)),
            401 | 403 | 410 | 451 => Err(self.denied(response, &code, what)),
            _ => Err(self.answer(what, format!("status {status}{}", message(response)))),
        }
    }

    fn denied(&self, response: &Body, code: &str, what: &str) -> HubError {
        let status = response.status().as_u16();
        let advice = match (status, code, &self.authorization) {
            (410 | 451, ..) => "it is given out no more; use another repository, or a copy on disk",
            (_, "GatedRepo", Some(_)) => {
                "ask for access on the repository's page with the account of this token (HF_TOKEN)"
            }
            (_, "GatedRepo", None) => {
                "accept its terms on the repository's page, then log in (`hf auth login`) or set HF_TOKEN"
            }
            (.., Some(_)) => {
                "check the name, and that the token (HF_TOKEN, or of `hf auth login`) is valid and may read this \
                 repository"
            }
            (.., None) => "check the name; if it is private, log in (`hf auth login`) or set HF_TOKEN",
        };
        HubError::Denied { what: what.to_owned(), status, message: message(response), advice }
    }

    /// A hub that has no time now: the same request may be answered later.
    pub(super) fn busy(&self, response: &Body, url: &str, what: &str) -> HubError {
        let status = response.status().as_u16();
        let advice = match (status, &self.authorization) {
            (429, None) => "wait some minutes; with a token (HF_TOKEN) more may be asked",
            (429, Some(_)) => "too much was asked with this token; wait some minutes",
            _ => "the trouble is on its side; try again later",
        };
        HubError::Busy { what: what.to_owned(), host: host(url), status, message: message(response), advice }
    }

    fn no_repository(&self, what: &str) -> HubError {
        HubError::NoRepository { what: what.to_owned(), endpoint: self.endpoint.clone() }
    }
}

/// What the hub adds in words, with a separator in front.
fn message(response: &Body) -> String {
    let words = header(response, "x-error-message").map(|m| m.chars().take(MESSAGE).collect::<String>());
    words.filter(|words| !words.is_empty()).map(|words| format!(": {words}")).unwrap_or_default()
}
