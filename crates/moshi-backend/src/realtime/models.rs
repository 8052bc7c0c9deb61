//! The list of models that some clients ask for before they do anything else: there is one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::App;

/// The models: one.
#[utoipa::path(get, path = "/v1/models", tag = "operations", responses((status = 200, description = "A list of one model")))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let list = json!({ "object": "list", "data": [model(&app)] });
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

fn model(app: &App) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created = now.saturating_sub(app.started.elapsed()).as_secs();
    json!({ "id": app.model_name, "object": "model", "created": created, "owned_by": app.config.instance_name })
}
