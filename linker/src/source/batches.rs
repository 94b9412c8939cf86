//! What one fetch answer holds of one partition: whole batches in the current format, in order.

use bytes::Bytes;
use towpath_wire::batch::{self, BatchError};
use towpath_wire::convert::up_convert_keeping_offsets;

/// What messages of formats v0 and v1 in one answer may decompress to, bytes.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// The whole batches of one answer; a batch cut off by the size limit at its end is left for the next fetch.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// Their bytes: the source's own, unless they were in an old format.
    pub records: Bytes,
    /// Offset after the last whole batch, and that batch's leader epoch.
    pub end: Option<(i64, i32)>,
    /// Largest record timestamp, ms; −1: none.
    pub timestamp_ms: i64,
}

impl Whole {
    /// Cuts the answer to a fetch made at `from`. Messages of formats v0 and v1 are converted, keeping their
    /// offsets: no supported client reads them from the target.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    pub fn of(records: Bytes, from: i64) -> Result<Whole, String> {
        match Whole::cut(records.clone(), from) {
            Err(Bad::OldFormat) => {
                let converted = up_convert_keeping_offsets(records, from, DECOMPRESSED_BYTES_MAX);
                let converted = converted.map_err(|error| error.to_string())?.freeze();
                Whole::cut(converted, from).map_err(Bad::words)
            }
            cut => cut.map_err(Bad::words),
        }
    }

    fn cut(records: Bytes, from: i64) -> Result<Whole, Bad> {
        let mut whole = Whole { timestamp_ms: -1, ..Whole::default() };
        let mut length = 0;
        for batch in batch::views(&records) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(BatchError::OldFormat { .. }) => return Err(Bad::OldFormat),
                Err(error) => return Err(Bad::Words(error.to_string())),
            };
            if whole.end.is_some_and(|(end, _)| batch.base_offset() < end) {
                let words = format!("a batch at offset {} behind one that ends later", batch.base_offset());
                return Err(Bad::Words(words));
            }
            length += batch.size_bytes();
            whole.end = Some((batch.next_offset(), batch.leader_epoch()));
            whole.timestamp_ms = whole.timestamp_ms.max(batch.max_timestamp_ms());
        }
        if whole.end.is_some_and(|(end, _)| end <= from) {
            return Err(Bad::Words(format!("only batches below offset {from}")));
        }
        whole.records = records.slice(..length);
        Ok(whole)
    }
}

enum Bad {
    OldFormat,
    Words(String),
}

impl Bad {
    fn words(self) -> String {
        match self {
            Bad::OldFormat => "messages of an old format that do not convert".to_owned(),
            Bad::Words(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use towpath_wire::batch::BatchBuilder;

    use super::*;

    fn batch(base_offset: i64, records: usize) -> BytesMut {
        let mut builder = BatchBuilder::new(base_offset).leader_epoch(3);
        for number in 0..records {
            builder.append(1_000 + number as i64, None, Some(b"value"), &[]);
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch() {
        let (first, second) = (batch(10, 3), batch(13, 2));
        let answer = [first.as_ref(), &second[..second.len() - 1]].concat();
        let whole = Whole::of(answer.into(), 11).unwrap();
        assert_eq!((whole.end, whole.timestamp_ms), (Some((13, 3)), 1_002));
        assert_eq!(whole.records, first);
        let none = Whole::of(Bytes::copy_from_slice(&second[..30]), 13).unwrap();
        assert_eq!((none.end, none.records.len(), none.timestamp_ms), (None, 0, -1));
    }

    #[test]
    fn batches_that_go_back_or_lie_before_what_was_asked_for_are_refused() {
        let answer = [batch(13, 2), batch(10, 3)].concat();
        assert!(Whole::of(answer.into(), 10).unwrap_err().contains("offset 10"));
        assert!(Whole::of(batch(10, 3).freeze(), 13).unwrap_err().contains("below offset 13"));
    }
}
