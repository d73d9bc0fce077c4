//! A codec that hands requests over as bytes, so that what is made of them can borrow from them.

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

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
}

impl<M: Message> Encoder for MessageEncoder<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        buffer.put_slice(&message.encode_to_vec());
        Ok(())
    }
}
