//! What a request is answered. One place for status, text, headers and the cause it is counted under.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{inputs::Refusal, spool::Refused};

/// Every answer to a request for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All lines are in the log and synced, or there were none.
    Ok,
    /// No input has this path.
    NotFound,
    /// The path exists, the sender is in nobody's `allowed_sources`.
    Forbidden,
    /// Not POST.
    Method,
    /// No token or a wrong one.
    Unauthorized,
    /// The server has no token to compare with.
    NoToken,
    /// Unknown or several encodings.
    Encoding,
    /// Above `max_payload_size` or `max_compression_ratio`.
    TooLarge,
    /// Above `max_lines_per_request`.
    TooManyLines(usize),
    /// A line above what is read downstream.
    LineTooLong(usize),
    /// The body broke off, or is not what its encoding says.
    Body,
    /// Slower than `read_timeout`.
    Timeout,
    /// The input is paused.
    Paused,
    /// The spool is full.
    Full,
    /// The memory budget is used up.
    Memory,
    /// The log cannot be written.
    Unwritable,
    /// The proxy is stopping.
    Stopping,
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Full,
            Refused::Unwritable(_) => Self::Unwritable,
            Refused::Stopping => Self::Stopping,
        }
    }
}

impl Answer {
    /// Status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge | Self::TooManyLines(_) | Self::LineTooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::NoToken | Self::Paused | Self::Full | Self::Memory | Self::Unwritable | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// What it is counted under.
    pub fn cause(self) -> Option<Refusal> {
        Some(match self {
            Self::Ok => return None,
            Self::NotFound | Self::Method | Self::Encoding | Self::Body => Refusal::Malformed,
            Self::Forbidden => Refusal::Source,
            Self::Unauthorized | Self::NoToken => Refusal::Unauthorized,
            Self::TooLarge | Self::TooManyLines(_) | Self::LineTooLong(_) => Refusal::Oversize,
            Self::Timeout => Refusal::Timeout,
            Self::Paused => Refusal::Paused,
            Self::Full | Self::Memory | Self::Stopping => Refusal::Full,
            Self::Unwritable => Refusal::Unwritable,
        })
    }

    fn text(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Ok => b"OK",
            Self::NotFound => b"Not found",
            Self::Forbidden => b"Forbidden",
            Self::Method => b"Method not allowed",
            Self::Unauthorized => b"Unauthorized",
            Self::Encoding => b"Unsupported Content-Encoding",
            Self::TooLarge => b"Payload too large",
            Self::TooManyLines(max) => return format!("Too many lines (max {max})").into(),
            Self::LineTooLong(max) => return format!("Line too long (max {max} bytes)").into(),
            Self::Body => b"Error reading request body",
            Self::Timeout => b"Request timeout",
            Self::NoToken => b"Token not available",
            Self::Paused => b"Input is paused",
            Self::Full | Self::Memory => b"Server is full, try again later",
            Self::Unwritable => b"Storage not available, try again later",
            Self::Stopping => b"Server is stopping, try again",
        })
    }

    /// Seconds after which the same request may work.
    fn retry_after(self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(match self {
            Self::Paused => "60",
            Self::Full => "10",
            Self::Unwritable | Self::NoToken => "5",
            Self::Memory | Self::Stopping => "1",
            _ => return None,
        }))
    }

    fn headers(self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds);
        }
        let (name, value) = match self {
            Self::Method => (ALLOW, "POST"),
            Self::Unauthorized => (WWW_AUTHENTICATE, "Bearer"),
            Self::Encoding => (ACCEPT_ENCODING, "gzip, deflate, zstd"),
            Self::Stopping | Self::Timeout => (CONNECTION, "close"),
            _ => return,
        };
        headers.insert(name, HeaderValue::from_static(value));
    }

    /// The response.
    pub fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.text()));
        *response.status_mut() = self.status();
        self.headers(response.headers_mut());
        response
    }
}
