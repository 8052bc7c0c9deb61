//! The web page: the one in the binary, or a folder of somebody else's.

use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use tower_http::services::ServeDir;

/// The files of `web/`, put into the binary when it is built.
#[derive(RustEmbed)]
#[folder = "web/"]
#[allow_missing = true]
struct Page;

/// What our own page may do: load and call its own origin, nothing else. Worklets are plain files of ours.
const OWN_PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; media-src 'self' blob:; worker-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers that every answer carries, whatever page is served.
pub(crate) const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("microphone=(self), camera=(), geolocation=()"),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// A file of the page in the binary; `/` is `index.html`.
pub(crate) async fn own_page(method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = Page::get(path) else {
        return (StatusCode::NOT_FOUND, format!("there is nothing at /{path}\n")).into_response();
    };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let hash: String = file.metadata.sha256_hash().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(file.data) };
    Response::builder()
        .header(header::CONTENT_TYPE, with_charset(kind.essence_str()))
        .header(header::CONTENT_SECURITY_POLICY, OWN_PAGE_POLICY)
        // Modules name each other without versions, so a browser must ask each time; the answer is small.
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::ETAG, format!("\"{hash}\""))
        .body(body)
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Another page's folder.
pub(crate) fn other_page(folder: &Path) -> ServeDir {
    ServeDir::new(folder).append_index_html_on_directories(true)
}

fn with_charset(kind: &str) -> String {
    let text = kind.starts_with("text/") || kind == "application/json" || kind == "image/svg+xml";
    if text { format!("{kind}; charset=utf-8") } else { kind.to_owned() }
}
