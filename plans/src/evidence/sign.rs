//! Ed25519 keys and signatures, as the rest of evidence uses them.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::EntryHash;
use crate::ErrorKind;

/// A key that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is not an Ed25519 key ({why}); fix: give a PKCS#8 or SPKI file in PEM, or 64 hexadecimal digits"
)]
pub struct KeyError {
    what: &'static str,
    why: String,
}

impl KeyError {
    /// Whoever named the key.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Caller
    }
}

/// The key that signs checkpoints. Never printed.
pub struct Signer(SigningKey);

impl Signer {
    /// From 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// From a PEM file (`BEGIN PRIVATE KEY`), as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|error| KeyError { what: "the private key", why: error.to_string() })
    }

    /// As a PEM file, for `evidence` set-up.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0
            .to_pkcs8_pem(Default::default())
            .map(|pem| pem.to_string())
            .map_err(|error| KeyError { what: "the private key", why: error.to_string() })
    }

    /// The key that checks its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs all up to and including the entry `sequence - 1`, whose hash is `previous`.
    pub(crate) fn checkpoint(&self, family: &str, sequence: u64, previous: &EntryHash) -> Signature {
        self.sign(&checkpoint_message(family, sequence, previous))
    }

    pub(crate) fn rotation(
        &self,
        family: &str,
        sequence: u64,
        previous: &EntryHash,
        new: &PublicKey,
    ) -> Signature {
        self.sign(&rotation_message(family, sequence, previous, new))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public())
    }
}

pub(crate) fn checkpoint_message(family: &str, sequence: u64, previous: &EntryHash) -> Vec<u8> {
    message("checkpoint", family, sequence, &[&previous.0])
}

pub(crate) fn rotation_message(
    family: &str,
    sequence: u64,
    previous: &EntryHash,
    new: &PublicKey,
) -> Vec<u8> {
    message("rotation", family, sequence, &[&previous.0, &new.0])
}

fn message(purpose: &str, family: &str, sequence: u64, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = format!("towpath evidence {purpose} v1\n{family}\n{sequence}\n").into_bytes();
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}

/// A public key: 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads what `--trust KEYFILE` names: PEM (`BEGIN PUBLIC KEY`) or 64 hexadecimal digits.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let refused = |why: String| KeyError { what: "the public key", why };
        if text.contains("-----BEGIN") {
            let key = VerifyingKey::from_public_key_pem(text).map_err(|error| refused(error.to_string()))?;
            return Ok(Self(key.to_bytes()));
        }
        text.trim().parse().map_err(|error: hex::FromHexError| refused(error.to_string()))
    }

    /// As a PEM file.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let refused = |why: String| KeyError { what: "the public key", why };
        let key = VerifyingKey::from_bytes(&self.0).map_err(|error| refused(error.to_string()))?;
        key.to_public_key_pem(Default::default()).map_err(|error| refused(error.to_string()))
    }

    /// Whether the signature is this key's, over this message. Strict: no weak keys, no malleable signatures.
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A signature: 128 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

impl FromStr for Signature {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(PublicKey, Signature);
