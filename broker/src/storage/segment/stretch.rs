//! Pages that are read together: a stretch of an object, one request.

use std::ops::Range;

use bytes::Bytes;

use super::format::PageInfo;

/// Cuts the pages of a range into stretches of at most `bytes_max`; a page larger than that is one by itself.
pub(crate) fn stretches(pages: &[PageInfo], bytes_max: u64) -> impl Iterator<Item = &[PageInfo]> {
    let mut bytes = 0;
    pages.chunk_by(move |page, next| {
        bytes += u64::from(page.length);
        let goes_on = bytes + u64::from(next.length) <= bytes_max;
        bytes *= u64::from(goes_on);
        goes_on
    })
}

/// Where a stretch lies in its object.
pub(crate) fn place(stretch: &[PageInfo]) -> Range<u64> {
    let start = stretch.first().map_or(0, |page| page.position);
    start..stretch.last().map_or(start, |page| page.position + u64::from(page.length))
}

/// Each page with its bytes, out of those of the stretch; `None` where these end before it.
pub(crate) fn cut<'a>(
    stretch: &'a [PageInfo],
    content: &'a Bytes,
) -> impl Iterator<Item = (&'a PageInfo, Option<Bytes>)> {
    let start = place(stretch).start;
    stretch.iter().map(move |page| {
        let from = (page.position - start) as usize;
        let bytes = content.get(from..from + page.length as usize).map(|found| content.slice_ref(found));
        (page, bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(lengths: &[u32]) -> Vec<PageInfo> {
        let mut position = 100;
        let page = |length: &u32| {
            let page = PageInfo {
                base_offset: 0,
                last_offset: 0,
                max_timestamp_ms: 0,
                position,
                length: *length,
                checksum: 0,
            };
            position += u64::from(*length);
            page
        };
        lengths.iter().map(page).collect()
    }

    #[test]
    fn stretches_keep_the_bound_and_the_order_and_leave_nothing_out() {
        let cut_at = |lengths: &[u32], bytes_max| -> Vec<Vec<u32>> {
            let pages = pages(lengths);
            let lengths = |stretch: &[PageInfo]| stretch.iter().map(|page| page.length).collect();
            stretches(&pages, bytes_max).map(lengths).collect()
        };
        assert_eq!(cut_at(&[4, 4, 2, 9, 1, 30, 5], 10), [vec![4, 4, 2], vec![9, 1], vec![30], vec![5]]);
        assert_eq!(cut_at(&[1, 1], 0), [[1], [1]]);
        assert_eq!(cut_at(&[], 10), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn pages_are_cut_out_where_they_lie_and_what_is_not_there_is_said() {
        let pages = pages(&[2, 3, 4]);
        assert_eq!(place(&pages), 100..109);
        assert_eq!(place(&[]), 0..0);
        let content = Bytes::from_static(b"aabbbcc");
        let found: Vec<_> = cut(&pages, &content).map(|(_, bytes)| bytes).collect();
        assert_eq!(found, [Some(Bytes::from("aa")), Some(Bytes::from("bbb")), None]);
    }
}
