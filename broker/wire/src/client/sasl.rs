//! SASL on a fresh connection: SaslHandshake, then SaslAuthenticate rounds (KIP-43, KIP-152).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use towpath_env::Env;

use super::config::{Mechanism, Protocol, Sasl};
use super::connection::Connection;
use super::error::ClientError;
use super::scram::{Hash, Opening};

/// Authenticates `connection`.
///
/// # Errors
/// [`ClientError::Authentication`], or [`ClientError::WrongProtocol`] when the listener has no SASL.
pub(super) async fn authenticate(
    connection: &Connection,
    protocol: Protocol,
    sasl: &Sasl,
    env: &Env,
) -> Result<(), ClientError> {
    let password = sasl.password.reveal()?;
    let exchange = Exchange { connection, protocol, sasl };
    exchange.handshake().await?;
    match sasl.mechanism {
        Mechanism::Plain => {
            let message = format!("\0{}\0{password}", sasl.username);
            exchange.round(message.into_bytes()).await.map(|_| ())
        }
        Mechanism::ScramSha256 => exchange.scram(Hash::Sha256, password, env).await,
        Mechanism::ScramSha512 => exchange.scram(Hash::Sha512, password, env).await,
    }
}

struct Exchange<'a> {
    connection: &'a Connection,
    protocol: Protocol,
    sasl: &'a Sasl,
}

impl Exchange<'_> {
    async fn handshake(&self) -> Result<(), ClientError> {
        let request = SaslHandshakeRequest::default()
            .with_mechanism(StrBytes::from_static_str(self.sasl.mechanism.name()));
        // Version 1: the rounds that follow are Kafka requests themselves.
        let answer = match self.connection.send_version(request, 1).await {
            Ok(answer) => answer,
            Err(error) if error.is_outcome_unknown() => return Err(self.no_sasl(&error.to_string())),
            Err(error) => return Err(error),
        };
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(()),
            Some(ResponseError::IllegalSaslState) => Err(self.no_sasl("it expects no authentication")),
            Some(ResponseError::UnsupportedSaslMechanism) => Err(self.refused(
                format!("it does not offer {}", self.sasl.mechanism.name()),
                format!("set `sasl.mechanism` to one it offers: {}", offered(&answer)),
            )),
            Some(code) => Err(self.refused(code.to_string(), "see the broker's log".to_owned())),
        }
    }

    async fn scram(&self, hash: Hash, password: String, env: &Env) -> Result<(), ClientError> {
        let mut random = [0; 24];
        env.fill(&mut random);
        let opening = Opening::new(hash, &self.sasl.username, BASE64.encode(random));
        let server_first = self.text_round(opening.message()).await?;
        // Deriving the key takes milliseconds: not on a thread that serves connections.
        let proof = tokio::task::spawn_blocking(move || opening.prove(&password, &server_first)).await;
        let (proven, message) = match proof {
            Ok(Ok(proof)) => proof,
            Ok(Err(reason)) => return Err(self.not_genuine(reason)),
            Err(error) => return Err(self.not_genuine(error.to_string())),
        };
        let server_final = self.text_round(message).await?;
        proven.verify(&server_final).map_err(|reason| self.not_genuine(reason))
    }

    async fn text_round(&self, message: String) -> Result<String, ClientError> {
        let answer = self.round(message.into_bytes()).await?;
        String::from_utf8(answer.to_vec())
            .map_err(|_| self.not_genuine("its message is not UTF-8".to_owned()))
    }

    /// One message each way.
    async fn round(&self, message: Vec<u8>) -> Result<Bytes, ClientError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer: SaslAuthenticateResponse = match self.connection.send(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_outcome_unknown() => {
                return Err(self.refused(error.to_string(), self.check_credentials()));
            }
            Err(error) => return Err(error),
        };
        if let Some(code) = ResponseError::try_from_code(answer.error_code) {
            let words = answer.error_message.map_or_else(|| code.to_string(), |text| text.to_string());
            return Err(self.refused(words, self.check_credentials()));
        }
        if let Ok(lifetime_ms @ 1..) = u64::try_from(answer.session_lifetime_ms) {
            self.connection.set_lifetime(Duration::from_millis(lifetime_ms));
        }
        Ok(answer.auth_bytes)
    }

    fn check_credentials(&self) -> String {
        format!(
            "check `sasl.username` and the secret at {:?}, and that the user exists for {}",
            self.sasl.password,
            self.sasl.mechanism.name()
        )
    }

    fn not_genuine(&self, reason: String) -> ClientError {
        self.refused(reason, "make sure that the address is the cluster's own".to_owned())
    }

    fn refused(&self, reason: String, fix: String) -> ClientError {
        ClientError::Authentication {
            address: self.connection.address().to_owned(),
            mechanism: self.sasl.mechanism.name(),
            username: self.sasl.username.clone(),
            reason,
            fix,
        }
    }

    fn no_sasl(&self, reason: &str) -> ClientError {
        let without = if self.protocol.is_tls() { "SSL" } else { "PLAINTEXT" };
        ClientError::WrongProtocol {
            address: self.connection.address().to_owned(),
            protocol: self.protocol,
            reason: format!("it did not take the SASL handshake: {reason}"),
            fix: format!(
                "set `protocol` to {without} and remove `sasl`, or use the address of a SASL listener"
            ),
        }
    }
}

fn offered(answer: &SaslHandshakeResponse) -> String {
    answer.mechanisms.iter().map(StrBytes::as_str).collect::<Vec<_>>().join(", ")
}
