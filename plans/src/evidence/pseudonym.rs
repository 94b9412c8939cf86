//! Names for keys and hosts that say "the same one" without saying which one.

/// What is named. A key and a host with the same bytes get different names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PseudonymKind {
    /// A record's key.
    Key,
    /// A member's host.
    Host,
}

/// Pseudonyms under one family's secret (BLAKE3 in keyed mode). Whoever destroys the secret makes them
/// meaningless; whoever holds it can find a known key again.
#[derive(Clone)]
pub struct Pseudonyms {
    secret: [u8; 32],
}

impl Pseudonyms {
    /// With a secret of 32 random bytes, one for each family.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The name: `key:` or `host:` and 32 hexadecimal digits (128 bits, so that two never meet by chance).
    pub fn of(&self, kind: PseudonymKind, value: &[u8]) -> String {
        let word = match kind {
            PseudonymKind::Key => "key",
            PseudonymKind::Host => "host",
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(word.as_bytes()).update(&[0]).update(value);
        format!("{word}:{}", hex::encode(&hasher.finalize().as_bytes()[..16]))
    }

    /// Names the secret without giving it away, for [`super::Body::SecretDestroyed`].
    pub fn secret_name(&self) -> String {
        hex::encode(&blake3::derive_key("towpath pseudonym secret name v1", &self.secret)[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_secret_kind_and_value() {
        let one = Pseudonyms::new([1; 32]);
        let name = one.of(PseudonymKind::Key, b"sku-7");
        assert_eq!(name, one.of(PseudonymKind::Key, b"sku-7"));
        assert_ne!(name, one.of(PseudonymKind::Key, b"sku-8"));
        assert_ne!(name[4..], one.of(PseudonymKind::Host, b"sku-7")[5..]);
        assert_ne!(name, Pseudonyms::new([2; 32]).of(PseudonymKind::Key, b"sku-7"));
        assert!(!name.contains("sku"));
        assert_ne!(one.secret_name(), Pseudonyms::new([2; 32]).secret_name());
    }
}
