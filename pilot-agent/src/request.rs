//! `pilot-agent request`: one request to Envoy's admin interface, for people and for `istioctl`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;

use crate::admin::Admin;
use crate::cli::RequestArgs;

/// A large configuration dump takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends the request and prints the answer's body and nothing else.
///
/// # Errors
/// When Envoy does not answer, or not with a success.
pub fn run(args: &RequestArgs) -> anyhow::Result<()> {
    let RequestArgs {
        method,
        path,
        body,
        proxy_admin_port,
    } = args;
    let method = Method::from_bytes(method.to_uppercase().as_bytes())
        .with_context(|| format!("{method:?} is not a method of HTTP"))?;
    let path = if path.starts_with('/') {
        path.clone()
    } else {
        format!("/{path}")
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let admin = Admin::new(*proxy_admin_port, TIMEOUT);
    let answer = tokio.block_on(admin.request(&method, &path, body))?;
    std::io::stdout()
        .write_all(answer.as_bytes())
        .context("cannot print the answer")
}
