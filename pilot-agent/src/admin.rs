//! Envoy's admin interface on the loopback.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::http::{HttpError, exchange};

/// The address of every admin interface.
const HOST: &str = "127.0.0.1";

/// A client of the admin interface.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    port: u16,
    timeout: Duration,
}

/// A request that the admin interface did not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The path or the method cannot be part of a request.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// There was no answer.
    #[error("envoy's admin interface")]
    Http(#[from] HttpError),
    /// The answer was not a success.
    #[error("envoy's admin interface answered {status}: {body}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The text of the answer.
        body: String,
    },
}

// === impl Admin ===

impl Admin {
    /// A client that waits for an answer as long as `timeout`.
    #[must_use]
    pub fn new(port: u16, timeout: Duration) -> Admin {
        Admin { port, timeout }
    }

    /// Sends a request and returns the text of a successful answer.
    ///
    /// # Errors
    /// [`AdminError`] when there is no answer or it is not a success.
    pub async fn request(&self, method: &Method, path: &str, body: &str) -> Result<String, AdminError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{HOST}:{}", self.port))
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let (status, body) = exchange((HOST, self.port), request, self.timeout).await?;
        let body = String::from_utf8_lossy(&body).into_owned();
        match status.is_success() {
            true => Ok(body),
            false => Err(AdminError::Status { status, body }),
        }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`Admin::request`].
    pub async fn get(&self, path: &str) -> Result<String, AdminError> {
        self.request(&Method::GET, path, "").await
    }

    /// `POST path`.
    ///
    /// # Errors
    /// As [`Admin::request`].
    pub async fn post(&self, path: &str) -> Result<String, AdminError> {
        self.request(&Method::POST, path, "").await
    }
}
