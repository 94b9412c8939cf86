use std::pin::Pin;
use std::task::{Context, Poll};

use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn frames_come_out_as_they_went_in_and_the_end_is_clean() {
    let mut wire = Vec::new();
    let big = Bytes::from(vec![9; 1 << 20]);
    write_frame(&mut wire, vec![Bytes::from_static(b"ab"), Bytes::new(), big.clone()]).await.unwrap();
    write_frame(&mut wire, vec![]).await.unwrap();
    let mut reader = wire.as_slice();
    let first = read_frame(&mut reader, 2 << 20).await.unwrap().unwrap();
    assert_eq!((&first[..2], &first[2..]), (&b"ab"[..], &big[..]));
    assert_eq!(read_frame(&mut reader, 10).await.unwrap().unwrap().len(), 0);
    assert!(read_frame(&mut reader, 10).await.unwrap().is_none());
}

#[tokio::test]
async fn a_frame_over_the_limit_or_cut_short_is_an_error() {
    let mut negative = &[0xff, 0xff, 0xff, 0xff][..];
    assert!(matches!(read_frame(&mut negative, 10).await, Err(FrameError::Size { size: -1, .. })));
    let mut over = &[0, 0, 0, 11, 1][..];
    assert!(matches!(read_frame(&mut over, 10).await, Err(FrameError::Size { size: 11, .. })));
    let mut short = &[0, 0, 0, 3, 1][..];
    assert!(matches!(read_frame(&mut short, 10).await, Err(FrameError::Io(_))));
    let mut in_prefix = &[0, 0][..];
    assert!(matches!(read_frame(&mut in_prefix, 10).await, Err(FrameError::Io(_))));
}

/// Hands out a few bytes per read, as a slow network does, and notes the most it was asked for.
struct Dribble<'a> {
    data: &'a [u8],
    step: usize,
    asked_max: usize,
}

impl AsyncRead for Dribble<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.asked_max = self.asked_max.max(buf.remaining());
        let count = self.step.min(self.data.len()).min(buf.remaining());
        buf.put_slice(&self.data[..count]);
        self.data = &self.data[count..];
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_announced_size_reserves_no_memory_before_bytes_arrive() {
    let mut wire = (100u32 << 20).to_be_bytes().to_vec();
    wire.extend_from_slice(&[1; 1000]);
    let mut reader = Dribble { data: &wire, step: 3, asked_max: 0 };
    assert!(read_frame(&mut reader, 200 << 20).await.is_err());
    assert!(reader.asked_max <= RESERVED_UNSEEN_MAX, "asked for {}", reader.asked_max);
    let payload: Vec<u8> = (0..RESERVED_UNSEEN_MAX * 5 + 17).map(|index| index as u8).collect();
    let mut wire = (payload.len() as u32).to_be_bytes().to_vec();
    wire.extend_from_slice(&payload);
    wire.extend_from_slice(b"next");
    let mut reader = Dribble { data: &wire, step: 4096, asked_max: 0 };
    assert_eq!(read_frame(&mut reader, 1 << 30).await.unwrap().unwrap(), payload);
    assert_eq!(reader.data, b"next", "nothing of the next frame is taken");
}

#[test]
fn request_heads_parse_as_the_crate_encodes_them_for_every_api_and_version() {
    for key in ApiKey::iter() {
        let range = key.valid_versions();
        for version in range.min..=range.max {
            for client_id in [None, Some("towpath-ä")] {
                let header = RequestHeader::default()
                    .with_request_api_key(key as i16)
                    .with_request_api_version(version)
                    .with_correlation_id(-7)
                    .with_client_id(client_id.map(StrBytes::from_static_str))
                    .with_unknown_tagged_fields(Default::default());
                let mut out = BytesMut::new();
                header.encode(&mut out, key.request_header_version(version)).unwrap();
                let body_start = out.len();
                out.extend_from_slice(b"body");
                let head = parse_request_head(&out).unwrap();
                let expected = RequestHead {
                    api_key: key as i16,
                    api_version: version,
                    correlation_id: -7,
                    client_id: client_id.map(str::to_owned),
                    body_start,
                };
                assert_eq!(head, expected);
            }
        }
    }
}

#[test]
fn private_requests_have_the_plain_header() {
    let frame = [0x75, 0x31, 0, 0, 0, 0, 0, 5, 0, 1, b'x', 42];
    let head = parse_request_head(&frame).unwrap();
    assert_eq!((head.api_key, head.correlation_id, head.body_start), (30001, 5, 11));
}

#[test]
fn unknown_apis_and_short_heads_are_told_apart() {
    let unknown = [0x70, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff];
    assert!(matches!(parse_request_head(&unknown), Err(FrameError::UnknownApi { api_key: 0x7000 })));
    assert!(matches!(parse_request_head(&[0, 3, 0]), Err(FrameError::Header { position: 2, .. })));
}

#[test]
fn unsupported_api_versions_requests_still_parse() {
    let frame = [0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0];
    assert_eq!(parse_request_head(&frame).unwrap().api_version, 99);
}

proptest! {
    #[test]
    fn random_heads_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..64), key in 0i16..80) {
        let _ = parse_request_head(&frame);
        if frame.len() > 2 {
            frame[..2].copy_from_slice(&key.to_be_bytes());
            let _ = parse_request_head(&frame);
        }
    }
}
