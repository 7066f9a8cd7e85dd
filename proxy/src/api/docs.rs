//! The documentation in the browser: one page of our own that renders the OpenAPI document. Nothing is loaded from
//! elsewhere.

use axum::{
    http::header,
    response::{Html, IntoResponse, Redirect, Response},
};

use super::openapi_json;

const PAGE: &str = include_str!("docs.html");
/// The page may load nothing but what comes with it.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// To the documentation.
#[utoipa::path(get, path = "/", tag = "documentation", responses((status = 302)))]
pub async fn root() -> Response {
    // `Redirect` has no 302.
    let mut response = Redirect::to("/v1/docs").into_response();
    *response.status_mut() = axum::http::StatusCode::FOUND;
    response
}

/// This documentation as a page.
#[utoipa::path(get, path = "/v1/docs", tag = "documentation", responses((status = 200, body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
}

/// This documentation as OpenAPI.
#[utoipa::path(get, path = "/v1/docs/openapi.json", tag = "documentation", responses((status = 200, body = Object)))]
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}
