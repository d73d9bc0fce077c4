//! ADS over HTTP/2: messages in and out without copying what streams share.
//!
//! tonic's generated server would encode every response into a buffer of its own stream: a configuration of a megabyte
//! for each of a thousand proxies, for as long as they read it. Here a response is a list of shared chunks, and HTTP/2
//! asks for the next chunk only when the proxy has room for it. Requests are read by [`crate::messages`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::server::NamedService;
use tower::Service;

use crate::discovery::Discovery;
use crate::wire::{DeltaWire, SotwWire};

/// One response: the chunks of its encoded message.
pub(crate) type Chunks = Vec<Bytes>;

const STREAM: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Length of gRPC's prefix of a message: a flag and the length.
pub(crate) const PREFIX: usize = 5;

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdsService {
    discovery: Discovery,
}

/// The responses of one stream, as HTTP/2 sends them.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    responses: mpsc::Receiver<Result<Chunks, Status>>,
    /// What is left of the response that is being sent.
    chunks: std::vec::IntoIter<Bytes>,
    is_done: bool,
}

// === impl AdsService ===

impl AdsService {
    pub(crate) fn new(discovery: Discovery) -> Self {
        Self { discovery }
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<http::Request<tonic::body::Body>> for AdsService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let body = match request.uri().path() {
            STREAM => self.discovery.open::<SotwWire>(request),
            DELTA => self.discovery.open::<DeltaWire>(request),
            _ => return ready(Ok(Status::unimplemented("no such method").into_http())),
        };
        let mut response = http::Response::new(tonic::body::Body::new(body));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        ready(Ok(response))
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(crate) fn new(responses: mpsc::Receiver<Result<Chunks, Status>>) -> Self {
        Self {
            responses,
            chunks: Vec::new().into_iter(),
            is_done: false,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            let status = match ready!(self.responses.poll_recv(cx)) {
                Some(Ok(chunks)) => {
                    self.chunks = framed(chunks).into_iter();
                    continue;
                }
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.is_done = true;
            let mut trailers = HeaderMap::new();
            if let Err(status) = status.add_header(&mut trailers) {
                tracing::debug!(%status, "status of a stream cannot be sent");
            }
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.chunks.len() == 0
    }
}

/// Puts gRPC's prefix before a message.
fn framed(chunks: Chunks) -> Chunks {
    let length: usize = chunks.iter().map(Bytes::len).sum();
    let mut head = BytesMut::with_capacity(PREFIX);
    head.put_u8(0);
    // Nothing that fits into memory as the configuration of a proxy comes near the limit of 4 GiB.
    head.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let mut framed = Vec::with_capacity(chunks.len() + 1);
    let mut chunks = chunks.into_iter();
    if let Some(first) = chunks.next() {
        // Mostly the few bytes of the version.
        if first.len() < 1024 {
            head.put_slice(&first);
            framed.push(head.freeze());
        } else {
            framed.extend([head.freeze(), first]);
        }
    } else {
        framed.push(head.freeze());
    }
    framed.extend(chunks);
    framed
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(body: &mut ResponseBody) -> Poll<Option<Frame<Bytes>>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(body)
            .poll_frame(&mut cx)
            .map(|frame| frame.map(|frame| frame.expect("cannot fail")))
    }

    #[tokio::test]
    async fn a_message_is_prefixed_and_its_chunks_are_passed_on_as_they_are() {
        let (sender, receiver) = mpsc::channel(1);
        let mut body = ResponseBody::new(receiver);
        assert!(next(&mut body).is_pending());
        let shared = Bytes::from(vec![7; 5000]);
        let chunks = vec![
            Bytes::from_static(b"v1"),
            shared.clone(),
            Bytes::from_static(b"end"),
        ];
        sender.send(Ok(chunks)).await.expect("is open");
        let mut data = Vec::new();
        while let Poll::Ready(Some(frame)) = next(&mut body) {
            data.push(frame.into_data().expect("data"));
        }
        assert_eq!(data[0], b"\0\0\0\x13\x8dv1"[..]);
        assert_eq!(data[1].as_ptr(), shared.as_ptr(), "nothing is copied");
        assert_eq!(data[2], b"end"[..]);

        sender
            .send(Err(Status::unavailable("later")))
            .await
            .expect("is open");
        let Poll::Ready(Some(frame)) = next(&mut body) else {
            panic!("no trailers");
        };
        let trailers = frame.into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "14");
        assert!(matches!(next(&mut body), Poll::Ready(None)));
        assert!(body.is_end_stream());
    }
}
