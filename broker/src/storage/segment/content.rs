//! The bytes of what the store found.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use object_store::{Error as StoreError, GetResult, GetResultPayload};

/// What a request found. A file is read into memory that was not cleared for it first, as the client's own way of
/// doing it would: that costs as much as the reading.
pub(super) async fn content(found: GetResult) -> Result<Bytes, StoreError> {
    let range = found.range.clone();
    match found.payload {
        GetResultPayload::File(file, path) => {
            let read = tokio::task::spawn_blocking(move || read_range(file, range)).await;
            let read = read.unwrap_or_else(|ended| Err(io::Error::other(ended)));
            read.map_err(|source| StoreError::Generic {
                store: "file",
                source: format!("read {}: {source}", path.display()).into(),
            })
        }
        GetResultPayload::Stream(_) => found.bytes().await,
    }
}

fn read_range(mut file: File, range: Range<u64>) -> io::Result<Bytes> {
    let length = range.end - range.start;
    let mut bytes = Vec::with_capacity(length as usize);
    file.seek(SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;
    use object_store::path::Path;
    use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

    use super::*;

    #[tokio::test]
    async fn a_range_of_a_file_is_read_as_it_is_and_a_file_that_was_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let path = Path::from("object");
        store.put(&path, "0123456789".into()).await.unwrap();
        let find = async |range| {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            store.get_opts(&path, options).await.unwrap()
        };
        assert_eq!(content(find(GetRange::Bounded(2..5)).await).await.unwrap(), "234");
        assert_eq!(content(find(GetRange::Suffix(3)).await).await.unwrap(), "789");
        let found = find(GetRange::Bounded(2..9)).await;
        File::options().write(true).open(folder.path().join("object")).unwrap().set_len(5).unwrap();
        assert!(content(found).await.unwrap_err().to_string().contains("object"));
    }
}
