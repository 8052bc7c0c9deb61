//! The description of the HTTP part, at `/openapi.json`: made from the handlers themselves.

use axum::Json;
use moshi_engine::{PARAMETERS, Range};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::refusal::RefusalBody;

#[derive(OpenApi)]
#[openapi(
    info(title = "rustymoshi", description = "A server for full-duplex speech models."),
    paths(
        crate::chat::handler,
        crate::realtime::handler,
        crate::realtime::secrets::client_secrets,
        crate::realtime::secrets::sessions,
        crate::realtime::models::list,
        crate::transcriptions::handler,
        crate::health::live,
        crate::health::ready,
        crate::health::health,
        crate::health::status,
        crate::health::metrics,
        crate::health::build_info,
        description,
    ),
    components(schemas(RefusalBody)),
    modifiers(&Bearer, &Sampling),
    tags(
        (name = "calls", description = "WebSockets to talk on"),
        (name = "recordings", description = "Whole recordings"),
        (name = "operations", description = "Health, numbers and what the server is"),
    ),
)]
struct Api;

/// The key that calls need where keys are configured.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        api.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// The numbers by which a call's tokens are drawn, as they are declared.
struct Sampling;

impl Modify for Sampling {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for path in ["/api/chat", "/v1/realtime"] {
            let operation = api.paths.paths.get_mut(path).and_then(|item| item.get.as_mut());
            let Some(operation) = operation else { continue };
            operation.parameters.get_or_insert_default().extend(PARAMETERS.iter().map(described));
        }
    }
}

fn described(parameter: &moshi_engine::Parameter) -> RefOr<Parameter> {
    let kind = match parameter.range {
        Range::Real(..) => Type::Number,
        Range::Whole(_) => Type::Integer,
    };
    let described = ParameterBuilder::new()
        .name(parameter.wire)
        .parameter_in(ParameterIn::Query)
        .description(Some(format!("{}: {}", parameter.help, parameter.range)))
        .schema(Some(Object::with_type(kind)))
        .build();
    RefOr::T(described)
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn description() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}
