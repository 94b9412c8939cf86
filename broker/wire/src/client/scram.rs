//! SCRAM as a client (RFC 5802, RFC 7677): three messages, and the proof that the server knows us too. Pure.
//!
//! Like Kafka, names and passwords are taken as UTF-8 without SASLprep.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

/// RFC 7677 and Kafka allow no fewer.
const ITERATIONS_MIN: u32 = 4_096;
/// A hostile server must not keep us busy; Kafka's own limit is 16,384.
const ITERATIONS_MAX: u32 = 1_000_000;
/// GS2 header `n,,`: no channel binding, no other identity. In base64 it is `biws`.
const GS2_HEADER: &str = "n,,";

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// An exchange before the server's first message.
pub(super) struct Opening {
    hash: Hash,
    nonce: String,
    bare: String,
}

/// An exchange that waits for the server's last message.
pub(super) struct Proven {
    hash: Hash,
    server_signature: Vec<u8>,
}

impl Opening {
    /// `nonce` is fresh randomness in printable ASCII without commas.
    pub(super) fn new(hash: Hash, username: &str, nonce: String) -> Opening {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        Opening { hash, nonce, bare }
    }

    /// The first message.
    pub(super) fn message(&self) -> String {
        format!("{GS2_HEADER}{}", self.bare)
    }

    /// Answers the server's first message with the client's proof. Slow on purpose: derives the key.
    ///
    /// # Errors
    /// What is wrong with the server's message.
    pub(super) fn prove(self, password: &str, server_first: &str) -> Result<(Proven, String), String> {
        let hash = self.hash;
        let challenge = Challenge::parse(server_first)?;
        if !challenge.nonce.starts_with(&self.nonce) || challenge.nonce.len() == self.nonce.len() {
            return Err("the server did not extend our nonce".to_owned());
        }
        let without_proof = format!("c={},r={}", BASE64.encode(GS2_HEADER), challenge.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.bare);

        let salted = hash.derive(password, &challenge.salt, challenge.iterations);
        let client_key = hash.sign(&salted, b"Client Key");
        let client_signature = hash.sign(&hash.digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(key, sign)| key ^ sign).collect();
        let server_signature = hash.sign(&hash.sign(&salted, b"Server Key"), signed.as_bytes());

        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok((Proven { hash, server_signature }, message))
    }
}

impl Proven {
    /// Checks the server's last message.
    ///
    /// # Errors
    /// The server's own error, or that it does not know our password.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = attribute(server_final, 'e') {
            return Err(error.to_owned());
        }
        let signature = attribute(server_final, 'v').ok_or("no signature in the server's last message")?;
        let signature = BASE64.decode(signature).map_err(|_| "the server's signature is not base64")?;
        // Compared through a keyed hash of both, so that the time taken tells nothing.
        let expected = self.hash.sign(b"compare", &self.server_signature);
        if self.hash.sign(b"compare", &signature) != expected {
            return Err("the server's signature is wrong: it does not know this user's password".to_owned());
        }
        Ok(())
    }
}

/// The server's first message.
struct Challenge {
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    fn parse(message: &str) -> Result<Challenge, String> {
        if message.starts_with("m=") {
            return Err("the server demands an extension that this client does not have".to_owned());
        }
        let missing = |name| format!("no {name} in the server's first message");
        let nonce = attribute(message, 'r').ok_or_else(|| missing("nonce"))?.to_owned();
        let salt = attribute(message, 's').ok_or_else(|| missing("salt"))?;
        let salt = BASE64.decode(salt).map_err(|_| "the salt is not base64")?;
        let iterations = attribute(message, 'i').ok_or_else(|| missing("iteration count"))?;
        let iterations: u32 = iterations.parse().map_err(|_| "the iteration count is not a number")?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!(
                "{iterations} iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are accepted"
            ));
        }
        Ok(Challenge { nonce, salt, iterations })
    }
}

fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

impl Hash {
    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => hmac::<Hmac<Sha256>>(key, data),
            Hash::Sha512 => hmac::<Hmac<Sha512>>(key, data),
        }
    }

    fn derive(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Hash::Sha256 => {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec()
            }
            Hash::Sha512 => {
                pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password.as_bytes(), salt, iterations).to_vec()
            }
        }
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail.
    #[allow(clippy::expect_used)]
    let mac = <M as Mac>::new_from_slice(key).expect("any key length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn opening() -> Opening {
        Opening::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn the_rfcs_example_is_reproduced() {
        assert_eq!(opening().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proven, message) = opening().prove("pencil", SERVER_FIRST).unwrap();
        assert_eq!(
            message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proven.verify(SERVER_FINAL).unwrap();
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let (proven, _) = opening().prove("other", SERVER_FIRST).unwrap();
        assert!(proven.verify(SERVER_FINAL).unwrap_err().contains("does not know"));
        assert!(proven.verify("v=").is_err());
        assert_eq!(proven.verify("e=invalid-proof").unwrap_err(), "invalid-proof");
    }

    #[test]
    fn a_challenge_that_is_weak_absurd_or_not_ours_is_refused() {
        for wrong in [
            SERVER_FIRST.replace("i=4096", "i=1"),
            SERVER_FIRST.replace("i=4096", "i=4000000000"),
            SERVER_FIRST.replace("r=rOpr", "r=xOpr"),
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_owned(),
            String::new(),
        ] {
            assert!(opening().prove("pencil", &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_with_separators_are_escaped() {
        let opening = Opening::new(Hash::Sha512, "a=b,c", "n".to_owned());
        assert_eq!(opening.message(), "n,,n=a=3Db=2Cc,r=n");
    }
}
