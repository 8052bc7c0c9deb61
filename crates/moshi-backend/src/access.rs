//! Who may ask for anything: a page of the right origin, with a key where keys are needed, and not more calls than one
//! may have.

use axum::http::{HeaderMap, StatusCode};
use moshi_protocol::{CloseReason, Refusal};

use crate::app::App;
use crate::auth::{self, Access};
use crate::call::{CallRequest, NamedFormat, Share};
use crate::key_id::KeyId;
use crate::peer::Peer;
use crate::refusal::Refused;

/// Whether a page of this origin, with this key, may call at all, and whether this caller may have another call: its
/// share counts until it is dropped.
pub(crate) fn check_caller(app: &App, peer: Peer, headers: &HeaderMap, query: &str) -> Result<Share, Refused> {
    let key = check_access(app, headers, query)?;
    app.quotas.enter(peer.household(), key).map_err(|over| {
        app.metrics.refused("quota");
        over.into()
    })
}

/// Whether a page of this origin, with this key, may ask for anything: with which key, where keys are needed.
pub(crate) fn check_access(app: &App, headers: &HeaderMap, query: &str) -> Result<Option<KeyId>, Refused> {
    if let Err(stranger) = app.welcome.check(headers) {
        app.metrics.refused("origin");
        return Err(Refused::new(StatusCode::FORBIDDEN, CloseReason::NotAllowed.name(), stranger.to_string()));
    }
    if let Some(name) = auth::key_in_query(query) {
        app.metrics.refused("key");
        let reason = format!(
            "query parameter {name} seems to hold a key, and query strings end in logs: take this key out of use, and \
             send the next as \"Authorization: Bearer KEY\" or as the subprotocol \"rustymoshi-key.KEY\""
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, "key_in_query", reason));
    }
    let reason = match app.keys.check(headers) {
        Access::Granted(key) => return Ok(key),
        Access::Missing => {
            "this server wants a key: send \"Authorization: Bearer KEY\", or from a browser the subprotocols \
             \"rustymoshi\" and \"rustymoshi-key.KEY\""
        }
        Access::Wrong => "the key is not one of this server's",
    };
    app.metrics.refused("key");
    Err(Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", reason))
}

/// What a caller asks for, if it makes sense, with the prompt of the part that the model is to play in it.
pub(crate) async fn read_request<F: NamedFormat>(app: &App, query: &str) -> Result<CallRequest<F>, Refused> {
    let mut request = CallRequest::parse(query, &app.defaults).map_err(|refusal| refuse(app, refusal))?;
    match &app.cast {
        Some(cast) => {
            let prompt = cast.prompt(&request.part).await;
            request.prompt = prompt.map_err(|error| refuse(app, error.refusal()))?;
        }
        None => request.notices.extend(request.part.in_vain()),
    }
    Ok(request)
}

fn refuse(app: &App, refusal: Refusal) -> Refused {
    app.metrics.refused("parameter");
    Refused::parameter(refusal)
}
