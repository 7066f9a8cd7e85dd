//! Paths and their description, from the same lines of code.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError, ApiState, config, connectivity, dlq, docs, entry, exporters, guard, health, plugins, status,
};

/// Longest body of a request.
const MAX_BODY: usize = 1024 * 1024;
/// Longest time for an answer to begin; above the longest wait for a change.
const TIMEOUT: Duration = Duration::from_mins(2);

#[derive(OpenApi)]
#[openapi(
    info(title = "bytefreezer-proxy", description = "Health, status, configuration and the dead-letter queue of one proxy. \
        Reading takes `server.read_token` or `server.admin_token` as `Authorization: Bearer <token>`, changing takes the latter; \
        without any token reads from the machine itself are answered, except for the content of batches."),
    modifiers(&Tokens),
)]
struct Description;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("token", scheme);
        api.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

fn documented() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(docs::root))
        .routes(routes!(docs::page))
        .routes(routes!(docs::openapi))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::health))
        .routes(routes!(status::status))
        .routes(routes!(status::senders))
        .routes(routes!(exporters::exporters))
        .routes(routes!(config::config))
        .routes(routes!(config::reload))
        .routes(routes!(connectivity::test))
        .routes(routes!(plugins::plugins))
        .routes(routes!(dlq::stats::stats))
        .routes(routes!(dlq::files))
        .routes(routes!(dlq::retry::retry))
        .routes(routes!(entry::show, entry::delete))
        .routes(routes!(entry::download))
}

/// Everything.
pub fn router(state: Arc<ApiState>) -> Router {
    let (router, _) = documented().split_for_parts();
    let router = router.layer(middleware::from_fn_with_state(Arc::clone(&state), guard::check));
    finish(router, state)
}

/// `/livez`, `/readyz` and `/metrics`, for a port without tokens.
pub fn health_router(state: Arc<ApiState>) -> Router {
    let (router, _) = OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts();
    finish(router, state)
}

fn finish(router: Router<Arc<ApiState>>, state: Arc<ApiState>) -> Router {
    router
        .fallback(async || ApiError::not_found("no such path; see /v1/docs"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(frame))
        .with_state(state)
}

/// What every answer has in common: a time limit, JSON also for a wrong method, `Allow` for OPTIONS, nothing cached.
async fn frame(request: Request, next: Next) -> Response {
    let options = request.method() == Method::OPTIONS;
    let Ok(mut response) = tokio::time::timeout(TIMEOUT, next.run(request)).await else {
        return ApiError::unavailable("this took too long").into_response();
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = if options {
            StatusCode::NO_CONTENT.into_response()
        } else {
            ApiError::wrong_method().into_response()
        };
        response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What is answered when a handler met a defect of the program.
pub fn defect() -> Response {
    ApiError::internal("the program met a defect; please report it").into_response()
}

/// The OpenAPI document.
pub fn openapi_json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut api = documented().into_openapi();
        env!("CARGO_PKG_VERSION").clone_into(&mut api.info.version);
        // Only text, numbers and lists: it cannot fail.
        api.to_pretty_json().unwrap_or_default() + "\n"
    })
}
