//! What a schema is made of. Schemas are trees of constants, built by the functions here so that
//! [`super::messages`] reads as a table.

use std::ops::RangeInclusive;

use kafka_protocol::protocol::StrBytes;

/// One API: its key, its request, its response.
pub(super) struct Api {
    pub key: i16,
    pub request: Message,
    pub response: Message,
}

/// A request or a response in all versions that may be decoded.
pub(super) struct Message {
    pub versions: RangeInclusive<i16>,
    /// The first version with compact lengths and tagged fields (KIP-482).
    pub flexible_from: i16,
    pub root: Kind,
}

/// A field of a structure.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub from: i16,
    pub to: i16,
    /// Tagged fields come behind the others, in any order, and only if they are set.
    pub tag: Option<u32>,
}

/// The type of a field or of an array's elements.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// UTF-8 behind its length.
    Text { nullable: bool },
    /// Bytes behind their length.
    Blob { nullable: bool },
    /// Elements behind their count.
    Array { element: &'static Kind, nullable: bool },
    /// Fields, one after the other.
    Struct(Struct),
    /// A byte that says whether the fields follow.
    Optional(Struct),
}

/// A structure: how large the crate's decoded form is, and its fields in their order on the wire.
#[derive(Clone, Copy)]
pub(super) struct Struct {
    pub decoded_bytes: usize,
    pub fields: &'static [Field],
}

/// Flexible in no version.
pub(super) const NEVER: i16 = i16::MAX;

pub(super) const BOOL: Kind = Kind::Fixed(1);
pub(super) const I8: Kind = Kind::Fixed(1);
pub(super) const I16: Kind = Kind::Fixed(2);
pub(super) const I32: Kind = Kind::Fixed(4);
pub(super) const I64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const TEXT: Kind = Kind::Text { nullable: false };
pub(super) const NULLABLE_TEXT: Kind = Kind::Text { nullable: true };
pub(super) const BLOB: Kind = Kind::Blob { nullable: false };
pub(super) const NULLABLE_BLOB: Kind = Kind::Blob { nullable: true };

pub(super) const fn api(key: i16, request: Message, response: Message) -> Api {
    Api { key, request, response }
}

pub(super) const fn message(min: i16, max: i16, flexible_from: i16, root: Kind) -> Message {
    Message { versions: min..=max, flexible_from, root }
}

/// A structure that decodes to a `T`.
pub(super) const fn structure<T>(fields: &'static [Field]) -> Kind {
    Kind::Struct(Struct { decoded_bytes: size_of::<T>(), fields })
}

/// A structure that may be missing.
pub(super) const fn optional(structure: Kind) -> Kind {
    match structure {
        Kind::Struct(structure) => Kind::Optional(structure),
        other => other,
    }
}

pub(super) const fn array(element: &'static Kind) -> Kind {
    Kind::Array { element, nullable: false }
}

pub(super) const fn nullable_array(element: &'static Kind) -> Kind {
    Kind::Array { element, nullable: true }
}

/// A field that all versions have.
pub(super) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, from: 0, to: i16::MAX, tag: None }
}

impl Field {
    /// Only from this version on.
    pub(super) const fn from(mut self, version: i16) -> Field {
        self.from = version;
        self
    }

    /// Only up to this version.
    pub(super) const fn to(mut self, version: i16) -> Field {
        self.to = version;
        self
    }

    /// Tagged.
    pub(super) const fn tag(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

impl Kind {
    /// Memory of one decoded element in a `Vec`.
    pub(super) const fn decoded_bytes(&self) -> usize {
        match self {
            Kind::Fixed(size) => *size,
            // `Bytes`, `StrBytes` and their `Option`s are of one size.
            Kind::Text { .. } | Kind::Blob { .. } => size_of::<StrBytes>(),
            Kind::Array { .. } => size_of::<Vec<u8>>(),
            Kind::Struct(structure) => structure.decoded_bytes,
            // The most that a discriminant can add.
            Kind::Optional(structure) => structure.decoded_bytes + size_of::<usize>(),
        }
    }
}
