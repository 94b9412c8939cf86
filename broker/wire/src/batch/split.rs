//! Cutting a records field into batches.

use bytes::Bytes;

use super::BatchError;
use super::header::{self, Batch, BatchView};

/// Cuts a records field into its batches, each a slice of the same allocation.
///
/// Ends after the first error: what follows a bad length cannot be found.
pub fn split(bytes: Bytes) -> Split {
    Split { rest: bytes, position: 0 }
}

/// As [`split`], over borrowed bytes. The position of each batch is the sum of the sizes before it.
pub fn views(bytes: &[u8]) -> Views<'_> {
    Views { rest: bytes, position: 0 }
}

/// Iterator of [`split`].
#[derive(Clone, Debug)]
pub struct Split {
    rest: Bytes,
    position: usize,
}

impl Iterator for Split {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match header::size_at_start(&self.rest, self.position) {
            Ok(size) => {
                self.position += size;
                Some(Ok(Batch::trusted(self.rest.split_to(size))))
            }
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Split {}

/// Iterator of [`views`].
#[derive(Clone, Debug)]
pub struct Views<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Iterator for Views<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match header::size_at_start(self.rest, self.position) {
            Ok(size) => {
                let (batch, rest) = self.rest.split_at(size);
                self.rest = rest;
                self.position += size;
                Some(Ok(Batch::trusted(batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Views<'_> {}
