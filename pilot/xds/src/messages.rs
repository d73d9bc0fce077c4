//! The requests of one stream.
//!
//! tonic's reader keeps a buffer of the size of the largest request for as long as the stream lives: with all names of
//! a large mesh that is more than all else that a stream needs. Here a message has a buffer of its own, and nothing is
//! left of it when it was read.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::body::Body;
use tonic::Status;

use crate::transport::PREFIX;

/// The largest request in bytes: the names of a mesh of a hundred thousand services.
const LARGEST: usize = 64 << 20;

/// How much room is made for a request before it is there.
const AHEAD: usize = 1 << 20;

/// The encoded messages of a request body.
#[derive(Debug)]
pub(crate) struct Messages {
    body: tonic::body::Body,
    /// What was received and belongs to no message yet.
    buffer: BytesMut,
}

/// The message that the buffer begins with.
enum Begun {
    /// `length` bytes, without the prefix.
    Whole {
        length: usize,
    },
    Missing {
        bytes: usize,
    },
}

// === impl Messages ===

impl Messages {
    pub(crate) fn new(body: tonic::body::Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
        }
    }

    /// The next message; `None` at the end of the stream. What was received stays when the future is dropped.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is no message.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Status::internal("the stream ended within a message")),
                Some(Err(status)) => return Err(status),
                // Trailers of a request say nothing.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// The first message of the buffer, when all of it is there.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let length = match self.begun()? {
            Begun::Whole { length } => length,
            Begun::Missing { bytes } => {
                // What a client announces is not yet there.
                self.buffer.reserve(bytes.min(AHEAD));
                return Ok(None);
            }
        };
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        // The last whole message takes the buffer along, and what has begun behind it begins another.
        if !matches!(self.begun(), Ok(Begun::Whole { .. })) {
            self.buffer = BytesMut::from(&*std::mem::take(&mut self.buffer));
        }
        Ok(Some(message))
    }

    /// How much is there of the first message of the buffer.
    fn begun(&self) -> Result<Begun, Status> {
        let Some((mut prefix, rest)) = self.buffer.split_at_checked(PREFIX) else {
            return Ok(Begun::Missing { bytes: 0 });
        };
        if prefix.get_u8() != 0 {
            return Err(Status::unimplemented("compressed requests are not understood"));
        }
        let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(Status::resource_exhausted(format!(
                "a request of {length} bytes is larger than the limit of {LARGEST}"
            )));
        }
        Ok(match length.saturating_sub(rest.len()) {
            0 => Begun::Whole { length },
            bytes => Begun::Missing { bytes },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn messages(bytes: &[u8], piece: usize) -> Messages {
        let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice);
        Messages::new(tonic::body::Body::new(Pieces(pieces.collect())))
    }

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let bytes = b"\0\0\0\0\x03one\0\0\0\0\0\0\0\0\0\x05three";
        for piece in 1..=bytes.len() {
            let mut messages = messages(bytes, piece);
            let mut read = Vec::new();
            while let Some(message) = messages.next().await.expect("is well-formed") {
                read.push(message);
            }
            assert_eq!(read, [&b"one"[..], b"", b"three"], "pieces of {piece}");
            assert_eq!(messages.buffer.capacity(), 0, "nothing is kept");
        }
    }

    /// Messages that came together stay in one buffer: each would otherwise cost a copy of all that are behind it.
    #[tokio::test]
    async fn messages_that_come_together_are_not_copied() {
        let mut messages = messages(&b"\0\0\0\0\x01x".repeat(3), 100);
        let mut places = Vec::new();
        for _ in 0..3 {
            let message = messages.next().await.expect("is well-formed").expect("a message");
            places.push(message.as_ptr().addr());
        }
        let distances: Vec<usize> = places.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        assert_eq!(distances, [PREFIX + 1; 2]);
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        for (bytes, code) in [
            (&b"\0\0\0\0\x03on"[..], tonic::Code::Internal),
            (b"\x01\0\0\0\0", tonic::Code::Unimplemented),
            (b"\0\xff\xff\xff\xff", tonic::Code::ResourceExhausted),
        ] {
            let error = messages(bytes, 4).next().await.expect_err("is refused");
            assert_eq!(error.code(), code);
        }
    }
}
