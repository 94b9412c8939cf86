//! Reads the topics out of a consumer's subscription (the `metadata` of its JoinGroup protocols).
//!
//! The bytes come from a client and are bounded by themselves: every count is checked against what remains.

use bytes::{Buf, Bytes};

/// Topics of a `ConsumerProtocolSubscription` of any version: INT16 version, then an array of strings first.
/// `None` when the bytes are not one.
pub fn topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut rest = metadata.clone();
    let _version = rest.try_get_i16().ok()?;
    let count = rest.try_get_i32().ok()?;
    // Each topic takes at least its own length.
    if count < 0 || count as usize > rest.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let len = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        if len > rest.len() {
            return None;
        }
        topics.push(String::from_utf8(rest.split_to(len).to_vec()).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_names_its_topics() {
        let bytes = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0");
        assert_eq!(topics(&bytes), Some(vec!["a".to_owned(), "bc".to_owned()]));
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_it_is_believed() {
        assert_eq!(topics(&Bytes::from_static(b"\0\x01\x7f\xff\xff\xff\0\x01a")), None);
        assert_eq!(topics(&Bytes::from_static(b"\0\x01\0\0\0\x01\0\x09a")), None);
        assert_eq!(topics(&Bytes::new()), None);
    }
}
