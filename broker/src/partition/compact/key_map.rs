//! The last offset of each key, in a table of fixed size (Kafka's `SkimpyOffsetMap`).
//!
//! Keys are known by 128 bits of a keyed hash: two keys of one partition that share them are not to be expected
//! before the hash itself breaks, and nobody outside knows the hash's key.

/// Bytes that one entry takes.
pub(super) const ENTRY_BYTES: usize = size_of::<Slot>();
/// The table is full at so many eighths: beyond, looking up takes long.
const FULL_EIGHTHS: usize = 6;
/// No record has it.
const EMPTY: i64 = -1;

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    offset: i64,
}

/// Offsets by key.
pub(super) struct KeyMap {
    hash_key: [u8; blake3::KEY_LEN],
    slots: Vec<Slot>,
    len: usize,
}

impl KeyMap {
    /// A map for `keys` keys at most, or for as many as fit into `bytes_max`.
    pub fn new(bytes_max: usize, keys: usize, hash_key: [u8; blake3::KEY_LEN]) -> KeyMap {
        let slots = slots_for(keys).min(bytes_max / ENTRY_BYTES).max(1);
        KeyMap { hash_key, slots: vec![Slot { hash: [0; 2], offset: EMPTY }; slots], len: 0 }
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.slots.len() * ENTRY_BYTES
    }

    /// Whether `keys` more keys fit. Into an empty map everything does: it grows, or a batch with more keys than
    /// the bound allows could never be compacted.
    pub fn admit(&mut self, keys: usize) -> bool {
        let fits = self.len + keys <= self.slots.len() * FULL_EIGHTHS / 8;
        if !fits && self.len == 0 {
            self.slots.resize(slots_for(keys), Slot { hash: [0; 2], offset: EMPTY });
        }
        fits || self.len == 0
    }

    /// The newest offset of a key. There must be room ([`KeyMap::admit`]).
    pub fn put(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        let at = self.find(hash);
        self.len += usize::from(self.slots[at].offset == EMPTY);
        self.slots[at] = Slot { hash, offset };
    }

    /// The newest offset of a key, if it was put.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        if self.len == 0 {
            return None;
        }
        Some(self.slots[self.find(self.hash(key))].offset).filter(|offset| *offset != EMPTY)
    }

    /// The slot that holds the hash, or the empty one where it belongs. Ends, because the table is never full.
    fn find(&self, hash: [u64; 2]) -> usize {
        let mut at = (hash[0] % self.slots.len() as u64) as usize;
        while self.slots[at].offset != EMPTY && self.slots[at].hash != hash {
            at = (at + 1) % self.slots.len();
        }
        at
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = blake3::keyed_hash(&self.hash_key, key);
        let (halves, _) = hash.as_bytes().as_chunks::<8>();
        [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
    }
}

/// Slots of a table that is not full with so many keys.
fn slots_for(keys: usize) -> usize {
    keys.saturating_mul(8) / FULL_EIGHTHS + 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_takes_24_bytes_and_the_bound_holds() {
        assert_eq!(ENTRY_BYTES, 24);
        let mut map = KeyMap::new(24 * 100, 1_000_000, [0; 32]);
        assert_eq!(map.bytes(), 2_400);
        let taken = (0_i64..).take_while(|offset| {
            let room = map.admit(1);
            if room {
                map.put(&offset.to_be_bytes(), *offset);
            }
            room
        });
        assert_eq!(taken.count(), 75);
        assert_eq!(map.bytes(), 2_400);
    }

    #[test]
    fn only_what_comes_first_may_overdraw_the_bound() {
        let mut map = KeyMap::new(0, 0, [0; 32]);
        assert!(map.admit(10_000));
        for key in 0_i64..10_000 {
            map.put(&key.to_be_bytes(), key);
        }
        assert!((0_i64..10_000).all(|key| map.get(&key.to_be_bytes()) == Some(key)));
        assert!(!map.admit(10_000));
    }

    proptest! {
        #[test]
        fn it_knows_what_a_hash_map_knows(keys in proptest::collection::vec(0_u8..40, 0..200)) {
            let mut map = KeyMap::new(usize::MAX, keys.len(), [7; 32]);
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                prop_assert!(map.admit(1));
                map.put(&[*key], offset as i64);
                model.insert(*key, offset as i64);
            }
            for key in 0..50 {
                prop_assert_eq!(map.get(&[key]), model.get(&key).copied());
            }
        }
    }
}
