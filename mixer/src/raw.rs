//! A codec that hands requests over as bytes, so that what is made of them can borrow from them.

use bytes::{Buf as _, Bytes};
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Most answers have less bytes than this. Tonic would make room for 8 KiB, for every call.
const ANSWER: usize = 512;

/// As usual; a message alone does not come there.
const YIELD: usize = 32 * 1024;

/// Bytes in, messages out.
#[derive(Debug)]
pub(crate) struct RawCodec<M>(PhantomData<fn() -> M>);

/// Hands requests over as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawDecoder;

/// Encodes answers.
#[derive(Debug)]
pub(crate) struct MessageEncoder<M>(PhantomData<fn() -> M>);

impl<M> Default for RawCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Send + 'static> Codec for RawCodec<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = MessageEncoder<M>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        RawDecoder
    }
}

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        // The first frame tells how much is needed, and mostly has all of it.
        BufferSettings::new(0, YIELD)
    }
}

impl<M: Message> Encoder for MessageEncoder<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ANSWER, YIELD)
    }
}
