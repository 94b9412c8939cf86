//! Random messages of the schemas' shapes, for the tests and fuzzers of everything that decodes.

use super::schema::{Kind, Message, Struct};

/// A random body of a request: any field any value, arrays short, some tags that nobody knows.
///
/// `None` when the guard does not know the version. `random` gives the entropy.
pub fn request(api_key: i16, api_version: i16, random: &mut dyn FnMut() -> u64) -> Option<Vec<u8>> {
    sample(&super::find(api_key)?.request, api_version, random)
}

/// A random body of a response, as [`request`].
pub fn response(api_key: i16, api_version: i16, random: &mut dyn FnMut() -> u64) -> Option<Vec<u8>> {
    sample(&super::find(api_key)?.response, api_version, random)
}

fn sample(message: &Message, version: i16, random: &mut dyn FnMut() -> u64) -> Option<Vec<u8>> {
    if !message.versions.contains(&version) {
        return None;
    }
    let flexible = version >= message.flexible_from;
    let mut sampler = Sampler { version, flexible, random, out: Vec::new() };
    sampler.kind(&message.root);
    Some(sampler.out)
}

struct Sampler<'a> {
    version: i16,
    flexible: bool,
    random: &'a mut dyn FnMut() -> u64,
    out: Vec<u8>,
}

impl Sampler<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        (self.random)() % bound
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn length(&mut self, length: Option<usize>, wide: bool) {
        let length = length.map_or(-1, |length| length as i32);
        match (self.flexible, wide) {
            (true, _) => self.varint((length + 1) as u32),
            (false, true) => self.out.extend_from_slice(&length.to_be_bytes()),
            (false, false) => self.out.extend_from_slice(&(length as i16).to_be_bytes()),
        }
    }

    /// A short length, or null now and then where that is allowed.
    fn pick_length(&mut self, nullable: bool, bound: u64) -> Option<usize> {
        if nullable && self.below(4) == 0 { None } else { Some(self.below(bound) as usize) }
    }

    fn bytes(&mut self, count: usize) {
        for _ in 0..count {
            let byte = self.below(256) as u8;
            self.out.push(byte);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            // Booleans are written back as 0 or 1, so other bytes would not compare.
            Kind::Fixed(1) => {
                let byte = self.below(2) as u8;
                self.out.push(byte);
            }
            Kind::Fixed(size) => self.bytes(*size),
            Kind::Text { nullable } => {
                let length = self.pick_length(*nullable, 12);
                self.length(length, false);
                self.out.extend(std::iter::repeat_n(b'x', length.unwrap_or(0)));
            }
            Kind::Blob { nullable } => {
                let length = self.pick_length(*nullable, 40);
                self.length(length, true);
                self.bytes(length.unwrap_or(0));
            }
            Kind::Array { element, nullable } => {
                let length = self.pick_length(*nullable, 4);
                self.length(length, true);
                (0..length.unwrap_or(0)).for_each(|_| self.kind(element));
            }
            Kind::Struct(structure) => self.structure(structure),
            Kind::Optional(structure) => {
                if self.below(3) == 0 {
                    self.out.push(0xff);
                } else {
                    self.out.push(1);
                    self.structure(structure);
                }
            }
        }
    }

    fn structure(&mut self, structure: &Struct) {
        for field in structure.fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.kind(&field.kind);
            }
        }
        if !self.flexible {
            return;
        }
        let mut tagged = Vec::new();
        for field in structure.fields {
            if let Some(tag) = field.tag
                && field.is_in(self.version)
                && self.below(2) == 0
            {
                let before = std::mem::take(&mut self.out);
                self.kind(&field.kind);
                tagged.push((tag, std::mem::replace(&mut self.out, before)));
            }
        }
        for _ in 0..self.below(8).saturating_sub(5) {
            tagged.push((1000 + self.below(1 << 20) as u32, vec![7; self.below(200) as usize]));
        }
        tagged.sort();
        tagged.dedup_by_key(|(tag, _)| *tag);
        self.varint(tagged.len() as u32);
        for (tag, value) in tagged {
            self.varint(tag);
            self.varint(value.len() as u32);
            self.out.extend_from_slice(&value);
        }
    }
}
