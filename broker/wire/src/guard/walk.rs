//! The walk over a message's bytes along its schema.

use super::schema::{Kind, Message, Struct};

/// What decoding costs at most beyond the structures: the reference counts of the shared frame.
const BASE_BYTES: usize = 128;
/// Unknown tagged fields go into a `BTreeMap<i32, Bytes>`: its first node, and a share of another per entry
/// (nodes are at least five elevenths full).
const TAGGED_FIRST_BYTES: usize = 640;
const TAGGED_EACH_BYTES: usize = 128;

/// Why a walk stopped.
pub(super) enum Stop {
    /// At a byte, in a field, for a reason.
    Malformed(usize, &'static str, &'static str),
    /// Out of budget.
    Budget,
}

/// Walks all of `body`.
pub(super) fn walk(message: &Message, version: i16, body: &[u8], budget_bytes: usize) -> Result<(), Stop> {
    let flexible = version >= message.flexible_from;
    let mut walk = Walk { body, position: 0, version, flexible, budget_bytes, field: "message" };
    walk.spend(message.root.decoded_bytes().saturating_add(BASE_BYTES))?;
    walk.kind(&message.root)?;
    match walk.remaining() {
        0 => Ok(()),
        _ => walk.stop("bytes are left over behind the message"),
    }
}

struct Walk<'a> {
    body: &'a [u8],
    position: usize,
    version: i16,
    flexible: bool,
    budget_bytes: usize,
    field: &'static str,
}

impl<'a> Walk<'a> {
    fn remaining(&self) -> usize {
        self.body.len() - self.position
    }

    fn stop<T>(&self, reason: &'static str) -> Result<T, Stop> {
        Err(Stop::Malformed(self.position, self.field, reason))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        match self.budget_bytes.checked_sub(bytes) {
            Some(left) => {
                self.budget_bytes = left;
                Ok(())
            }
            None => Err(Stop::Budget),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.remaining() {
            return self.stop("it needs more bytes than are left");
        }
        let taken = &self.body[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn varint(&mut self) -> Result<u32, Stop> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            if shift == 28 && byte > 0x0f {
                return self.stop("a varint exceeds 32 bits");
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A length or count; `None` for null. `wide` lengths are INT32 where they are not compact, others INT16.
    fn length(&mut self, wide: bool, nullable: bool) -> Result<Option<usize>, Stop> {
        let length = match (self.flexible, wide) {
            (true, _) => i64::from(self.varint()?) - 1,
            (false, true) => i64::from(i32::from_be_bytes(self.array()?)),
            (false, false) => i64::from(i16::from_be_bytes(self.array()?)),
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 && nullable => Ok(None),
            Err(_) if length == -1 => self.stop("it may not be null"),
            Err(_) => self.stop("its length is negative"),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), Stop> {
        match kind {
            Kind::Fixed(size) => {
                self.take(*size)?;
            }
            Kind::Text { nullable } => {
                if let Some(length) = self.length(false, *nullable)?
                    && std::str::from_utf8(self.take(length)?).is_err()
                {
                    return self.stop("it is not UTF-8");
                }
            }
            Kind::Blob { nullable } => {
                if let Some(length) = self.length(true, *nullable)? {
                    self.take(length)?;
                }
            }
            Kind::Array { element, nullable } => {
                if let Some(count) = self.length(true, *nullable)? {
                    self.elements(element, count)?;
                }
            }
            Kind::Struct(structure) => self.structure(structure)?,
            Kind::Optional(structure) => match self.array::<1>()?[0] as i8 {
                1 => self.structure(structure)?,
                i8::MIN..=-1 => {}
                _ => return self.stop("it is neither there nor missing"),
            },
        }
        Ok(())
    }

    fn elements(&mut self, element: &Kind, count: usize) -> Result<(), Stop> {
        // Every element takes a byte at least, in every version of every message (tested).
        if count > self.remaining() {
            return self.stop("its count exceeds the bytes that are left");
        }
        self.spend(count.saturating_mul(element.decoded_bytes()))?;
        if let Kind::Fixed(size) = element {
            self.take(count.saturating_mul(*size))?;
            return Ok(());
        }
        (0..count).try_for_each(|_| self.kind(element))
    }

    fn structure(&mut self, structure: &Struct) -> Result<(), Stop> {
        for field in structure.fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.field = field.name;
                self.kind(&field.kind)?;
            }
        }
        if self.flexible { self.tagged_fields(structure) } else { Ok(()) }
    }

    fn tagged_fields(&mut self, structure: &Struct) -> Result<(), Stop> {
        self.field = "tagged fields";
        let mut unknown = false;
        for _ in 0..self.varint()? {
            self.field = "tagged fields";
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            if size > self.remaining() {
                return self.stop("it needs more bytes than are left");
            }
            match structure.fields.iter().find(|field| field.tag == Some(tag)) {
                Some(field) => {
                    self.field = field.name;
                    if !field.is_in(self.version) {
                        return self.stop("this version has no such tag");
                    }
                    // The decoder goes by the content and never looks at the size.
                    let end = self.position + size;
                    self.kind(&field.kind)?;
                    if self.position != end {
                        return self.stop("a tagged field is not as long as it says");
                    }
                }
                None => {
                    if !unknown {
                        self.spend(TAGGED_FIRST_BYTES)?;
                    }
                    unknown = true;
                    self.spend(TAGGED_EACH_BYTES)?;
                    self.take(size)?;
                }
            }
        }
        Ok(())
    }
}
